from graded import Graded

from medusa_lib.exercises.loops import check_alpha, check_loop_passes


def alpha(loops):
    return sum(a for _, a in loops) / sum(min(a + 1, d) for d, a in loops)


class TestLoopPasses(Graded):
    check = staticmethod(check_loop_passes)
    solution = staticmethod(lambda span, accepted: span + min(accepted + 1, span))
    wrong = {
        "verifying only": lambda span, accepted: min(accepted + 1, span),
        "drafting only": lambda span, accepted: span,
        "the rejected token was evaluated too": lambda span, accepted: span + accepted,
        "no rejected one to pay for": lambda span, accepted: span + accepted + 1,
        "stops at the first mismatch": lambda span, accepted: 2 * span,
        "it is 8, yours was 0": lambda span, accepted: 0,
    }


class TestAlpha(Graded):
    check = staticmethod(check_alpha)
    solution = staticmethod(alpha)
    wrong = {
        "÷ drafted": lambda loops: sum(a for _, a in loops) / sum(d for d, _ in loops),
        "a fully accepted branch has no rejected token": (
            lambda loops: sum(a for _, a in loops) / sum(a + 1 for _, a in loops)
        ),
        "that is the mean of each loop's α": lambda loops: sum(map(alpha, zip(loops))) / len(loops),
        "return one number": lambda loops: loops,
        "it is 0.333, yours was 3.0": lambda loops: 1 / alpha(loops),
    }
