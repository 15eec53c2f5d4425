import torch
from graded import Graded

from medusa_lib import append_token, decode, encode, greedy_next, last_logits
from medusa_lib.exercises.utilities import check_second_best, check_write_greedily


def second_best(lm, ids):
    return int(torch.topk(last_logits(lm, ids), 2).indices[1])


def write(lm, text, n):
    ids = encode(lm, text)
    for _ in range(n):
        ids = append_token(ids, greedy_next(lm, ids))
    return decode(lm, ids)


def same_token(lm, text, n):
    token = greedy_next(lm, encode(lm, text))
    return text + n * decode(lm, [token])


class TestSecondBest(Graded):
    check = staticmethod(check_second_best)
    solution = staticmethod(second_best)
    wrong = {
        "that is the most probable token": greedy_next,
        "not its logit": lambda lm, ids: float(torch.topk(last_logits(lm, ids), 2)[0][1]),
        "that is a list": lambda lm, ids: torch.topk(last_logits(lm, ids), 2).indices,
        "that is a str": lambda lm, ids: decode(lm, [second_best(lm, ids)]),
        "the second best is token": lambda lm, ids: int(last_logits(lm, ids).argmin()),
    }


class TestWriteGreedily(Graded):
    check = staticmethod(check_write_greedily)
    solution = staticmethod(write)
    wrong = {
        "only the new part": lambda lm, text, n: write(lm, text, n)[len(text) :],
        "2 new tokens; 1 were asked for": lambda lm, text, n: write(lm, text, n + 1),
        "2 new tokens; 3 were asked": lambda lm, text, n: write(lm, text, max(1, n - 1)),
        "the same token every time": same_token,
        "a str, not a Tensor": lambda lm, text, n: encode(lm, text),
        "keep its result": lambda lm, text, n: text,
    }
