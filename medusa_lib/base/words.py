"""The words of the course as types: a signature tells shapes and ranges.

`Span` reads "an int >= 1" and is checked so by `checked`, which refuses a bad value by the
parameter's name before the body runs, so before any model pass. A type without a check, such as
`Parents`, only gives a shape its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch

from medusa_lib.base.checks import (
    Check,
    check_bool,
    check_callable,
    check_function,
    check_generator,
    check_ids,
    check_int,
    check_number,
    check_probs,
    check_prompt,
    check_seed,
    check_share,
    check_start,
    check_text,
    check_tokens,
    check_top_p,
    check_vector,
)

Ids = Annotated[torch.Tensor, Check(check_ids)]  # integers [1, T], T >= 1
Logits = Annotated[torch.Tensor, Check(check_vector)]  # finite numbers [V]
Probs = Annotated[torch.Tensor, Check(check_probs)]  # numbers >= 0 [V], sum 1
Token = Annotated[int, Check(check_int, 0)]  # a token's id
Tokens = Annotated[Sequence[int], Check(check_tokens)]  # ids of a branch, at least one
Text = Annotated[str, Check(check_text)]  # not empty
Prompt = Annotated[str, Check(check_prompt)]  # with a visible character
Start = Annotated[str | torch.Tensor, Check(check_start)]  # a prompt, or its ids [1, T]
ModelId = Annotated[str, Check(check_prompt)]  # a hub id, a folder, or a shipped model's name
Count = Annotated[int, Check(check_int, 0)]  # >= 0
Positive = Annotated[int, Check(check_int, 1)]  # >= 1
Span = Annotated[int, Check(check_int, 1)]  # tokens drafted in a row, >= 1
Temperature = Annotated[float, Check(check_number)]  # >= 0, 0 is greedy
Cost = Annotated[float, Check(check_number)]  # in forward passes over one token, >= 0
Distance = Annotated[float, Check(check_number)]  # between two logits, >= 0
TopP = Annotated[float | None, Check(check_top_p)]  # in [0, 1], None keeps all
AnyTopP = Annotated[float | None, Check(check_top_p, math.inf)]  # the same, above 1 keeps all
Share = Annotated[float, Check(check_share)]  # in [0, 1]
Seed = Annotated[int | None, Check(check_seed)]  # in [0, 2**63), None: another one each time
Flag = Annotated[bool, Check(check_bool)]  # True or False, nothing that is merely truthy
Generator = Annotated[torch.Generator, Check(check_generator)]  # of draws, on the CPU
Hook = Annotated[Callable[..., object] | None, Check(check_callable)]  # a function or None
Draft = Annotated[Callable[[Ids], Sequence[int]], Check(check_function)]  # ids so far → a branch

Parents = tuple[int, ...]  # of a tree: for each token its parent's place, -1 for the text's end
Node = tuple[int, ...]  # ranks on the way to a node: (0, 1) is the second guess after the best
