from graded import Graded

from medusa_lib.exercises.numbers import check_can_flip, check_near_ties


def near(rows, bound):
    return sum(sorted(row)[-1] - sorted(row)[-2] < bound for row in rows)


class TestNearTies(Graded):
    check = staticmethod(check_near_ties)
    solution = staticmethod(near)
    wrong = {
        "exactly the bound is no near tie": lambda rows, bound: sum(
            sorted(row)[-1] - sorted(row)[-2] <= bound for row in rows
        ),
        "the rows that are none": lambda rows, bound: len(rows) - near(rows, bound),
        "sort the row": lambda rows, bound: sum(abs(r[0] - r[1]) < bound for r in rows),
        "it is 1, yours was 7": lambda rows, bound: 7,
    }


class TestCanFlip(Graded):
    check = staticmethod(check_can_flip)
    solution = staticmethod(lambda margin, difference: margin <= 2 * difference)
    wrong = {
        "both logits can move": lambda margin, difference: margin <= difference,
        "the other way round": lambda margin, difference: margin > 2 * difference,
        "it is False, yours was 'no'": lambda margin, difference: "no",
    }
