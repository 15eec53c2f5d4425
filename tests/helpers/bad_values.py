"""Values that a check must refuse, by the kind of parameter."""

import math

import torch

HUGE = 10**400  # an int that no float holds
NO_COUNT = [True, 1.5, 3.0, "3", None, math.nan, math.inf, -1, [3], torch.tensor(3)]
NO_POSITIVE = [*NO_COUNT, 0]
NO_TEMPERATURE = [True, "1", None, math.nan, math.inf, -math.inf, -0.1, HUGE, 1j, [0.9]]
NO_TOP_P = [True, "0.9", math.nan, math.inf, -0.1, 1.1, HUGE, 1j, [0.9]]
NO_SEED = [True, 1.5, "7", math.nan, math.inf, -1, 2**63, [7]]
NO_BOOL = [0, 1, "yes", None]
NO_TEXT = [None, 7, b"bytes", ["a"], "", "lone surrogate \ud800"]
NO_PROMPT = [*NO_TEXT, " ", "\n\t  "]
NO_LM = [None, "bookworm", 7]
NO_DEVICE = ["", "gpu", "cuda:999", "meta", 3, 1.5, True]
NO_FUNCTION = [7, "print", True]


class ElsewhereGenerator(torch.Generator):
    """Says that it lives on a GPU, which a test machine need not have."""

    device = torch.device("cuda")


NO_GENERATOR = [None, 7, "cpu", torch.Generator, ElsewhereGenerator()]
NO_IDS = [
    None,
    7,
    [1, 2],
    [[1, 2]],
    torch.tensor(3),
    torch.tensor([1, 2]),
    torch.ones(2, 3, dtype=torch.long),
    torch.ones(1, 1, 3, dtype=torch.long),
    torch.ones(1, 0, dtype=torch.long),
    torch.ones(1, 3),
    torch.ones(1, 3, dtype=torch.bool),
    torch.ones(1, 3, dtype=torch.complex64),
    torch.ones(1, 3, dtype=torch.int16),
]
NO_NUMBERS = [
    None,
    [0.5, 0.5],
    torch.tensor(0.5),
    torch.ones(1, 2) / 2,
    torch.ones(0),
    torch.tensor([0.5, math.nan]),
    torch.tensor([0.5, math.inf]),
    torch.tensor([0.5, -math.inf]),
]
NO_VECTOR = [*NO_NUMBERS, torch.tensor([1, 2])]
NO_PROBS = [
    *NO_VECTOR,
    torch.tensor([1.5, -0.5]),
    torch.zeros(3),
    torch.ones(3),
    torch.tensor([0.5, 0.4]),
]
