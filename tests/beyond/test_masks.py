"""What each token of a tree may look at, and whose a mask is."""

from __future__ import annotations

import pytest
import torch

from medusa_lib import run_greedy
from medusa_lib.beyond.masks import attends, mask_and_offsets, with_cache
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.trees import path_to


def test_a_token_looks_at_itself_and_its_ancestors() -> None:
    assert attends((-1, -1, 1)).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 1, 1],
    ]


@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("parents", [(), (-1,), (-1, -1, -1), (-1, 0, 0, 2, -1, 4, 1), (-1, 0, 1)])
def test_of_every_tree_each_token_sees_its_way_and_the_text(parents, before) -> None:
    may = attends(parents, before)
    assert may[:before].tolist() == torch.ones(before, before + len(parents)).tril().bool().tolist()
    for token in range(len(parents)):
        way = [*range(before), *(before + place for place in path_to(parents, token))]
        assert may[before + token].nonzero().flatten().tolist() == way


def test_a_mask_is_ones_own_to_write_into(tiny_gpt2) -> None:
    prompt = "abc abc abc"
    greedy = run_greedy(tiny_gpt2, prompt, 20).new_ids
    rows, _ = mask_and_offsets((), before=8, dtype=torch.float32, device=torch.device("cpu"))
    with torch.inference_mode():
        for seen in range(3, 30):
            with_cache(rows, seen).fill_(-1e9)
    assert speculate(tiny_gpt2, prompt, "ngram", 20).new_ids == greedy
    changed = torch.zeros(2, 2)
    with_cache(changed, 1)
    changed[0, 1] = -5
    assert with_cache(changed, 1)[0, 0, 0].tolist() == [0, 0, -5]


def test_a_mask_made_while_decoding_serves_training_too(tiny_gpt2) -> None:
    speculate(tiny_gpt2, "abc abc abc", "ngram", 20)
    ids = torch.arange(2, 10)[None]
    rows, _ = mask_and_offsets((), 8, torch.float32, torch.device("cpu"))
    mask = with_cache(rows, 0)
    tiny_gpt2.model(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
    tiny_gpt2.model.zero_grad()
