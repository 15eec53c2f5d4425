import math

from graded import Graded

from medusa_lib.exercises.medusa_heads import check_head_targets, check_typical


def entropy(probs):
    return -sum(p * math.log(p) for p in probs)


def typical(probs, epsilon, delta, pick=min):
    bound = pick(epsilon, delta * math.exp(-entropy(probs)))
    return [p > bound for p in probs]


class TestHeadTargets(Graded):
    check = staticmethod(check_head_targets)
    solution = staticmethod(lambda ids, place, count: ids[place + 2 : place + 2 + count])
    wrong = {
        "model's own choice": lambda ids, place, count: ids[place + 1 : place + 1 + count],
        "that was just read": lambda ids, place, count: ids[place : place + count],
        "one too late": lambda ids, place, count: ids[place + 3 : place + 3 + count],
        "for more than 3 heads": lambda ids, place, count: ids[place + 2 :],
        "is missing": lambda ids, place, count: ids[place + 2 : place + 1 + count],
        "return a list": lambda ids, place, count: ids[place + 2],
        "it is [15, 16, 17], yours was [2]": lambda ids, place, count: [place],
    }


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
