from graded import Graded

from medusa_lib.exercises.heads_training import check_descend, check_head_targets


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


def descend(slope, w, rate, steps):
    for _ in range(steps):
        w = w - rate * slope(w)
    return w


class TestDescend(Graded):
    check = staticmethod(check_descend)
    solution = staticmethod(descend)
    wrong = {
        "that climbs": lambda slope, w, rate, steps: descend(slope, w, -rate, steps),
        "multiplied by the rate": lambda slope, w, rate, steps: descend(slope, w, 1, steps),
        "that is one step": lambda slope, w, rate, steps: descend(slope, w, rate, 1),
        "anew at each w": lambda slope, w, rate, steps: w - steps * rate * slope(w),
        "that it began with": lambda slope, w, rate, steps: w,
        "it is 2.7500, yours was 9": lambda slope, w, rate, steps: 9,
    }
