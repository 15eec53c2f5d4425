import itertools
import math

from graded import Graded

from medusa_lib.exercises.sampling import check_softmax_by_hand, check_standard_nucleus


def softmax(logits, temperature):
    weights = [math.exp(z / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def head(probs, top_p):
    return 1 + sum(total < top_p for total in itertools.accumulate(probs))


def nucleus(probs, top_p):
    return head(sorted(probs, reverse=True), top_p)


class TestSoftmaxByHand(Graded):
    check = staticmethod(check_softmax_by_hand)
    solution = staticmethod(softmax)
    wrong = {
        "divide by it": lambda logits, t: softmax(logits, 1 / t),
        "the temperature made no difference": lambda logits, t: softmax(logits, 1),
        "divide by their sum last": lambda logits, t: [math.exp(z / t) for z in logits],
        "return a list of 3 probabilities": lambda logits, t: softmax(logits, t)[0],
        "the first is 0.665": lambda logits, t: [z / sum(logits) for z in logits],
    }


class TestStandardNucleus(Graded):
    check = staticmethod(check_standard_nucleus)
    solution = staticmethod(nucleus)
    wrong = {
        "one too few": lambda probs, p: max(1, nucleus(probs, p) - 1),
        "sort them, most probable first": head,
        "how many tokens": lambda probs, p: sorted(probs, reverse=True)[: nucleus(probs, p)],
        "reaching top_p exactly is enough": lambda probs, p: len(probs),
    }
