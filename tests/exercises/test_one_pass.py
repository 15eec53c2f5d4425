from graded import Graded

from medusa_lib.exercises.one_pass import check_cache_after, check_keep


def keep(branch, choices):
    right = [b == c for b, c in zip(branch, choices, strict=False)]
    return choices[: (right.index(False) if False in right else len(branch)) + 1]


class TestKeep(Graded):
    check = staticmethod(check_keep)
    solution = staticmethod(keep)
    wrong = {
        "the bonus is missing": lambda b, c: c[: min(len(keep(b, c)), len(b))],
        "the correction is missing": lambda b, c: c[: len(keep(b, c)) - 1],
        "adds the rejected draft": lambda b, c: b[: len(keep(b, c))],
        "the last row follows the whole branch": lambda b, c: [*keep(b, c)[:-1], c[-1]],
        "stop after the correction": lambda b, c: c,
        "[5, 9] is to be kept, yours was 2": lambda b, c: len(keep(b, c)),
    }


class TestCacheAfter(Graded):
    check = staticmethod(check_cache_after)
    solution = staticmethod(lambda held, unseen, drafted, accepted: held + unseen + accepted)
    wrong = {
        "that is before the rollback": lambda h, u, d, a: h + u + d,
        "one too many": lambda h, u, d, a: h + u + a + 1,
        "the unseen tokens were fed too": lambda h, u, d, a: h + a,
        "cut the rejected tokens": lambda h, u, d, a: h + u + d - a,
        "it is 13, yours was 2": lambda h, u, d, a: a,
    }
