import itertools

from graded import Graded

from medusa_lib.exercises.prefix_accept import check_count_accepted, check_emitted


def count(branch, greedy):
    pairs = zip(branch, greedy, strict=True)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


class TestCountAccepted(Graded):
    check = staticmethod(check_count_accepted)
    solution = staticmethod(count)
    wrong = {
        "stop at the mismatch": lambda b, g: sum(map(int.__eq__, b, g)),
        "one too many": lambda b, g: min(count(b, g) + 1, len(b)),
        "an int, not the tokens": lambda b, g: b[: count(b, g)],
        "it is 0, yours was 3": lambda b, g: len(b),
    }


class TestEmitted(Graded):
    check = staticmethod(check_emitted)
    solution = staticmethod(lambda b, g: g[: count(b, g) + 1])
    wrong = {
        "the correction is missing": lambda b, g: b[: count(b, g)],
        "emits the rejected draft": lambda b, g: b[: count(b, g) + 1],
        "stop after the correction": lambda b, g: g,
        "that is the whole branch": lambda b, g: b,
        "yours was 3": count,
    }
