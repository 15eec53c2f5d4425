from graded import Graded

from medusa_lib.exercises.formulas import check_break_even_cost


def expected(alpha, span):
    return sum(alpha**i for i in range(span + 1))


class TestBreakEvenCost(Graded):
    check = staticmethod(check_break_even_cost)
    solution = staticmethod(lambda alpha, span: (expected(alpha, span) - 1) / span)
    wrong = {
        "take it off before you divide": lambda alpha, span: expected(alpha, span) / span,
        "the cost of the whole branch": lambda alpha, span: expected(alpha, span) - 1,
        "those are the tokens per loop": expected,
        "return one number": lambda alpha, span: [alpha],
        "it is 0.3750, yours was 0.5": lambda alpha, span: alpha,
    }
