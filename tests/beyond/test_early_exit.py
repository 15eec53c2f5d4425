"""Some layers of a model draft for it: its own weights, its own numbers, greedy's text."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from drafts import PROMPTS, assert_same_as_greedy, ids_of
from hypothesis import given, settings
from hypothesis import strategies as st

from medusa_lib import acceptance_rate, make_generator, speculate
from medusa_lib.beyond.drafters import ModelDrafter
from medusa_lib.beyond.early_exit import (
    early_exit,
    first_layers,
    fit_exit,
    kept_layers,
    shipped_exits,
    with_exit,
)
from medusa_lib.beyond.one_pass import State, one_pass
from medusa_lib.engine.twin import quick


def hidden_by_hooks(lm, ids, layer):
    """What goes out of a layer of the whole model."""
    base = lm.model.base_model
    block = (base.h if hasattr(base, "h") else base.layers)[layer]
    kept = []
    hook = block.register_forward_hook(lambda _m, _i, out: kept.append(out))
    base(input_ids=torch.tensor([ids]), use_cache=False)
    hook.remove()
    return kept[0][0] if isinstance(kept[0], tuple) else kept[0]


def test_the_first_layers_say_what_they_say_within_the_model(each_lm) -> None:
    ids, base = ids_of(each_lm, "a b c d"), each_lm.model.base_model
    norm = base.ln_f if hasattr(base, "ln_f") else base.norm
    with torch.inference_mode():
        wanted = each_lm.model.lm_head(norm(hidden_by_hooks(each_lm, ids, 0)))[0]
    part = kept_layers(each_lm, [0])
    said = one_pass(State.start(part, ids), ids[:0])
    assert torch.allclose(said[-1], wanted[-1], atol=2e-4)


def test_all_layers_are_the_model_and_no_weight_is_copied(each_lm) -> None:
    count = each_lm.model.config.num_hidden_layers
    whole = kept_layers(each_lm, range(count))
    ids = torch.tensor([ids_of(each_lm, "a b c")])
    with torch.inference_mode():
        assert torch.equal(whole.model(ids).logits, each_lm.model(ids).logits)
    part, own = kept_layers(each_lm, [count - 1]), {id(p) for p in each_lm.model.parameters()}
    assert {id(p) for p in part.model.parameters()} < own
    assert each_lm.model.config.num_hidden_layers == count
    assert quick(part) is not None, "the engine knows it"


def test_a_skipped_layer_leaves_the_others_where_they_are(each_lm) -> None:
    """In the model a hook makes the same layer do nothing."""
    ids, base = torch.tensor([ids_of(each_lm, "a b c")]), each_lm.model.base_model
    block = (base.h if hasattr(base, "h") else base.layers)[0]
    hook = block.register_forward_hook(lambda _m, given, out: given[0])
    with torch.inference_mode():
        wanted = each_lm.model(ids, use_cache=False).logits
        hook.remove()
        rest = range(1, each_lm.model.config.num_hidden_layers)
        part = kept_layers(each_lm, rest)
        assert torch.allclose(part.model(ids).logits, wanted, atol=1e-4)
        cached = one_pass(State.start(part, ids[0].tolist()), [])
    assert torch.allclose(cached[-1], wanted[0, -1], atol=2e-4)


@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(
    text=st.text("abcdefghij .", min_size=1, max_size=10).filter(str.strip),
    layers=st.sampled_from([[0], [1], [0, 1]]),
    span=st.integers(1, 6),
    llama=st.booleans(),
    looped=st.booleans(),
)
def test_any_layers_write_greedys_text(tiny_gpt2, tiny_llama, text, layers, span, llama, looped):
    lm = tiny_llama if llama else tiny_gpt2
    part = kept_layers(lm, layers)
    if not looped:  # the cut model's own forward pass
        part.model.config._attn_implementation = "eager"
        part.kept["twin"] = (None, None)
    drafter = ModelDrafter(part, 0.0, 1.0, make_generator(1))
    accepted = assert_same_as_greedy(lm, text, 20, drafter=drafter, span=span)
    assert accepted > 0 or layers != [0, 1]


def test_a_matrix_is_applied_and_the_fitted_one_lessens_the_error(tiny_gpt2) -> None:
    torch.manual_seed(1)
    part, ids = kept_layers(tiny_gpt2, [0]), torch.randint(0, 13, (40, 30))
    matrix = torch.randn(32, 32) / 8
    turned = with_exit(part, matrix)
    with torch.inference_mode():
        hidden = part.model.base_model(input_ids=ids)[0]
        wanted = (hidden + hidden @ matrix.T) @ part.model.lm_head.weight.T
        assert torch.allclose(turned.model(ids).logits, wanted, atol=0.02)  # half precision
    found = fit_exit(tiny_gpt2, part, ids)
    with torch.inference_mode():
        whole = tiny_gpt2.model.base_model(input_ids=ids)[0]
    before, after = whole - hidden, whole - hidden - hidden @ found.T
    assert float(after.square().sum()) < float(before.square().sum())
    assert float(fit_exit(part, part, ids).abs().max()) < 1e-3
    assert quick(turned) is not None


def test_the_shipped_exits_make_the_first_layer_worth_asking(lm) -> None:
    assert set(shipped_exits(lm)) == {1, 2, 3}
    rates = {}
    for name, part in (("plain", kept_layers(lm, [0])), ("exit", first_layers(lm))):
        drafter = ModelDrafter(part, 0.0, 1.0, make_generator(1))
        runs = [speculate(lm, prompt, drafter, 32, 4) for prompt in PROMPTS]
        rates[name] = acceptance_rate([loop for run in runs for loop in run.loops])
    assert rates["exit"] > rates["plain"] + 0.1 > 0.1


def test_the_named_drafter_is_exact_and_is_kept(lm) -> None:
    accepted = [assert_same_as_greedy(lm, prompt, 32, drafter="early_exit") for prompt in PROMPTS]
    assert min(accepted) > 0
    one, other = (early_exit(lm, 0.0, 1.0, make_generator(1)) for _ in range(2))
    assert one.lm is other.lm


def test_it_draws_at_a_temperature_and_says_from_what(tiny_llama) -> None:
    drafter = early_exit(tiny_llama, 0.9, 1.0, make_generator(1))
    branch = drafter.propose(State.start(tiny_llama, ids_of(tiny_llama, "abc")), 3)
    assert branch.probs is not None
    assert len(branch.probs) == len(branch.tokens) == branch.passes
    runs = [speculate(tiny_llama, "abc", "early_exit", 12, temperature=0.9, seed=s) for s in (1, 1)]
    assert runs[0].new_ids == runs[1].new_ids


def test_a_changed_model_gets_no_shipped_exit(lm, tiny_gpt2) -> None:
    assert shipped_exits(tiny_gpt2) == {}
    named = dataclasses.replace(tiny_gpt2, model_id="bookworm")
    assert shipped_exits(named) == {}


@pytest.mark.parametrize("bad", [[], [4], [1, 0], [0, 0], "01", 3, [-1], [True], [0.5]])
def test_bad_layers_are_refused(lm, refuses, bad) -> None:
    with refuses("layers", lm=lm):
        kept_layers(lm, bad)


def test_another_family_is_refused(tiny_gpt2, refuses, monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.beyond.early_exit.FAMILIES", ("llama",))
    with refuses("lm", lm=tiny_gpt2):
        kept_layers(tiny_gpt2, [0])
