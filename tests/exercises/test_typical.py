import math

from graded import Graded

from medusa_lib.exercises.typical import check_typical


def entropy(probs):
    return -sum(p * math.log(p) for p in probs)


def typical(probs, epsilon, delta, pick=min):
    bound = pick(epsilon, delta * math.exp(-entropy(probs)))
    return [p > bound for p in probs]


class TestTypical(Graded):
    check = staticmethod(check_typical)
    solution = staticmethod(typical)
    wrong = {
        "as if epsilon alone counted": lambda p, e, d: [x > e for x in p],
        "are not typical": lambda p, e, d: [not x for x in typical(p, e, d)],
        "not the larger": lambda p, e, d: typical(p, e, d, max),
        "multiplied by delta": lambda p, e, d: typical(p, e, 1),
        "exp(-entropy) is 0.14": lambda p, e, d: [x > min(e, d * entropy(p)) for x in p],
        "a list of 4 True or False": lambda p, e, d: typical(p, e, d)[0],
        "yours was [True, False, True, False]": lambda p, e, d: [True, False, True, False],
    }
