import math
from itertools import accumulate
from operator import mul

from graded import Graded

from medusa_lib.exercises.medusa_heads import check_tokens_per_pass


class TestTokensPerPass(Graded):
    check = staticmethod(check_tokens_per_pass)
    solution = staticmethod(lambda right: 1.0 + sum(accumulate(right, mul)))
    wrong = {
        "one token of its own": lambda right: float(sum(accumulate(right, mul))),
        "multiply them": lambda right: 1 + sum(right),
        "hold to their end": lambda right: 1 + math.prod(right),
        "how often the whole chain holds": math.prod,
        "a chain that always holds": lambda right: 1.0 + len(right),
        "it is 2.40, yours was 9": lambda right: 9,
    }
