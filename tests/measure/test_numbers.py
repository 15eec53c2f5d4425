import dataclasses

import pytest
import torch
from loops_by_hand import PROMPT

from medusa_lib import run_greedy, speculate
from medusa_lib.measure.numbers import (
    PassGap,
    SplitSum,
    in_dtype,
    logits_alone,
    logits_in_batch,
    logits_in_steps,
    margins,
    tie_cost,
    with_split_sums,
)


def test_a_gap_by_hand() -> None:
    first = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.75, 0.0], [1.0, 1.0, 0.5]])
    second = torch.tensor([[3.0, 1.5, 0.0], [1.75, 2.0, 0.0], [1.0, 1.0, 0.5]])
    gap = PassGap.of(first, second)
    assert margins(first).tolist() == gap.margins.tolist() == [2.0, 0.25, 0.0]
    assert gap.differences.tolist() == [0.5, 0.25, 0.0]
    assert gap.flips.tolist() == [False, True, False]
    assert gap.largest == 0.5
    assert gap.share_near(0.25) == pytest.approx(1 / 3)
    assert [gap.flips_between(0, 0.25), gap.flips_between(0.25, 3)] == [(1, 0), (2, 1)]


def test_kinds_of_pass_say_the_same_on_paper(tiny_gpt2) -> None:
    ids = [5, 6, 7, 8, 9, 10]
    alone = logits_alone(tiny_gpt2, ids, range(6))
    for count in (1, 4):
        assert torch.allclose(alone, logits_in_steps(tiny_gpt2, ids, count), atol=1e-4)
    other = [3, 3, 3, 4, 5, 6]
    batch = logits_in_batch(tiny_gpt2, [ids, other])
    assert torch.allclose(batch[0], alone[-1], atol=1e-4)
    assert torch.allclose(batch[1], logits_alone(tiny_gpt2, other, [5])[0], atol=1e-4)


def test_split_sums_are_the_same_model_and_split_few_rows_only(tiny_gpt2) -> None:
    split = with_split_sums(tiny_gpt2, parts=2, few=4)
    layers = [m for m in split.model.modules() if isinstance(m, SplitSum)]
    assert layers
    assert not [m for m in tiny_gpt2.model.modules() if isinstance(m, SplitSum)]
    ids = [5, 6, 7, 8, 9, 10]
    assert torch.equal(logits_alone(split, ids, [5]), logits_alone(tiny_gpt2, ids, [5]))
    steps = logits_in_steps(split, ids, 1)
    assert torch.allclose(steps, logits_in_steps(tiny_gpt2, ids, 1), atol=1e-4)
    x = torch.randn(1, 1, layers[0].part.weight.shape[0])
    assert torch.allclose(layers[0](x), layers[0].part(x), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_another_type_changes_no_more_than_each_weights_last_bits(tiny_gpt2, dtype) -> None:
    """However its weights lie in memory; the model that was given stays as it was."""
    before = {name: own.clone() for name, own in tiny_gpt2.model.state_dict().items()}
    typed = in_dtype(tiny_gpt2, dtype).model
    for name, own in typed.state_dict().items():
        assert torch.equal(own, before[name].to(dtype)), name
    assert typed.transformer.h[0].mlp.c_fc.weight.t().is_contiguous()
    for name, own in tiny_gpt2.model.state_dict().items():
        assert torch.equal(own, before[name]), name
        assert own.is_contiguous(), name


def test_the_rule_keeps_greedys_text_in_bfloat16(lm) -> None:
    half = with_split_sums(in_dtype(lm, torch.bfloat16))
    known = [run_greedy(half, PROMPT, 12)]
    kept, trusting = (tie_cost(half, known, tie_bound=bound) for bound in (None, 0.0))
    assert (kept.texts, kept.tokens, kept.different) == (1, 12, 0)
    assert kept.settled > trusting.settled == 0
    assert kept.settled_per_token == kept.settled / 12
    assert kept.passes_per_token == kept.passes / 12


def test_a_text_that_is_not_greedys_is_counted(lm) -> None:
    run = speculate(lm, PROMPT, None, 6)
    other = dataclasses.replace(run, new_ids=[*run.new_ids[:-1], run.new_ids[-1] + 1])
    assert tie_cost(lm, [run, other]).different == 1


def test_bad_knobs_are_refused(lm, refuses) -> None:
    with refuses("tie_bound", -1.0, lm):
        tie_cost(lm, [], tie_bound=-1.0)
    with refuses("parts", 0):
        with_split_sums(lm, parts=0)
