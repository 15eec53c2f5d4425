import math

from graded import Graded

from medusa_lib.exercises.drafter import check_branch_probability


class TestBranchProbability(Graded):
    check = staticmethod(check_branch_probability)
    solution = staticmethod(math.prod)
    wrong = {
        "that is the sum": sum,
        "that is the mean": lambda probs: sum(probs) / len(probs),
        "that is the last step alone": lambda probs: probs[-1],
        "return one number": lambda probs: probs,
        "it is 0.0500, yours was 0.2": min,
    }
