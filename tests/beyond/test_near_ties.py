"""Near ties are settled by greedy's own pass, and only where that matters."""

from __future__ import annotations

import copy
import dataclasses

import torch
from drafts import PROMPTS, FixedTree, assert_same_as_greedy, ids_of

from medusa_lib import encode, greedy_next, last_logits, make_lm, run_greedy
from medusa_lib.beyond.one_pass import State, greedy_choices, one_pass, verify_greedily
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.numbers import by_columns


def test_near_ties_in_a_tree_are_settled_by_greedys_own_pass(tiny_gpt2) -> None:
    tree = FixedTree([2, 3, 4, 5], (-1, -1, 0, 1))
    greedy = run_greedy(tiny_gpt2, "a b", 12)
    run = speculate(tiny_gpt2, "a b", tree, 12, tie_bound=1e9)
    assert run.new_ids == greedy.new_ids
    assert run.verify_passes > len(run.loops)


def test_a_near_tie_is_settled_by_greedys_own_pass(lm, count_passes) -> None:
    ids, branch = ids_of(lm, PROMPTS[0]), run_greedy(lm, PROMPTS[0], 4).new_ids
    state = State.start(lm, ids)
    wrong = one_pass(state, branch).clone()
    best, runner_up = wrong[2].topk(2).indices.tolist()
    wrong[2, runner_up] = wrong[2, best] + 1e-5  # a many-token pass flipped a near tie
    choices, passes = greedy_choices(state, branch, wrong, tie_bound=0.0)
    assert (verify_greedily(choices, branch), passes) == ((2, runner_up), 0)
    with count_passes(lm) as counted:
        choices, passes = greedy_choices(state, branch, wrong, tie_bound=1e-3)
    assert (verify_greedily(choices, branch)[0], passes, len(counted)) == (4, 1, 1)
    assert choices[2] == best == greedy_next(lm, torch.tensor([ids + branch[:2]]))


def test_rows_after_a_disagreement_cost_no_pass(lm) -> None:
    state = State.start(lm, ids_of(lm, PROMPTS[0]))
    logits = torch.zeros(4, lm.vocab_size)  # every row is a tie
    logits[0, 3] = 1
    assert greedy_choices(state, [9, 9, 9], logits, tie_bound=1e-3)[1] == 0
    assert greedy_choices(state, [3, 9, 9], logits, tie_bound=1e-3)[1] == 1


def test_a_model_full_of_ties_is_decoded_as_greedy_does(lm) -> None:
    """Each word twice: two columns of the output layer are alike up to rounding."""
    twin = type(lm.model)(lm.model.config)
    twin.load_state_dict(lm.model.state_dict())
    head = twin.get_output_embeddings()
    twin.config.tie_word_embeddings = False
    weights = lm.model.get_output_embeddings().weight.detach().clone()
    half = len(weights) // 2
    noise = 1 + 1e-7 * torch.randn(half, 1, generator=torch.Generator().manual_seed(1))
    weights[half : 2 * half] = weights[:half] * noise
    head.weight = torch.nn.Parameter(weights)
    tied = dataclasses.replace(lm, model=twin.eval())
    near, loops = 0, 0
    for prompt in PROMPTS:
        for drafter in (None, "ngram", "self"):
            assert_same_as_greedy(tied, prompt, 24, drafter=drafter)
            run = speculate(tied, prompt, drafter, 24)
            near += sum(record.verify_passes - 1 for record in run.loops)
            loops += len(run.loops)
    assert near > loops / 2, "there were no ties: the test would be vacuous"


def test_large_logits_in_16_bits_are_settled_too(lm) -> None:
    """With logits about 260 the numbers of bfloat16 are 2 apart: every last bit is a tie."""
    model = copy.deepcopy(lm.model)
    hidden = []
    hook = model.transformer.ln_f.register_forward_hook(lambda *seen: hidden.append(seen[2][0]))
    with torch.inference_mode():
        for prompt in PROMPTS:
            model(encode(lm, prompt))
    hook.remove()
    mean = torch.cat(hidden).mean(0)  # a direction that all hidden states share
    far = model.lm_head.weight.detach() - 260 * mean / (mean @ mean)
    model.lm_head.weight = torch.nn.Parameter(far.clone())
    model.config.tie_word_embeddings = False
    other = make_lm(lm.tokenizer, by_columns(model.bfloat16()), "far")
    assert abs(float(last_logits(other, encode(other, PROMPTS[0])).max())) > 200
    for prompt in PROMPTS:
        assert_same_as_greedy(other, prompt, 40, drafter=None)
