from graded import Graded

from medusa_lib.exercises.choosing import check_pass_time, check_pick_span


class TestPassTime(Graded):
    check = staticmethod(check_pass_time)
    solution = staticmethod(lambda reads, works, bw, ops: max(reads / bw, works / ops))
    wrong = {
        "not the sum": lambda reads, works, bw, ops: reads / bw + works / ops,
        "that is the shorter": lambda reads, works, bw, ops: min(reads / bw, works / ops),
        "bytes ÷ bytes per second": lambda reads, works, bw, ops: max(reads * bw, works * ops),
    }


def gain(alpha, cost, span):
    return sum(alpha**i for i in range(span + 1)) / (span * cost + 1)


def best(alpha, cost, most, least=0):
    return max(range(least, most + 1), key=lambda span: gain(alpha, cost, span))


class TestPickSpan(Graded):
    check = staticmethod(check_pick_span)
    solution = staticmethod(best)
    wrong = {
        "divide by what a loop costs": lambda alpha, cost, most: best(alpha, 0.0, most),
        "the answer is 0: no drafts": lambda alpha, cost, most: best(alpha, cost, most, 1),
        "return the span that has it": lambda *given: gain(*given[:2], best(*given)),
        "that is one more than the best": lambda *given: best(*given) + 1,
    }
