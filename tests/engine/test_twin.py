"""The quick twin answers as the model does, follows its changes, and leaves it as it was."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from tiny_models import small_gpt2, small_tokenizer
from torch import nn
from transformers import GPT2LMHeadModel, StaticCache
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

from medusa_lib import last_logits, load_lm, make_lm, run_greedy, speculate
from medusa_lib.engine.cache import growing_cache
from medusa_lib.engine.products import MOST_ROWS
from medusa_lib.engine.twin import (
    QuickBlock,
    QuickGelu,
    QuickGPT2,
    QuickLinear,
    QuickMLP,
    quick,
    quick_layers,
    quick_twin,
    version_of,
)


def logits_of(model, ids) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids).logits[0]


def test_the_twin_answers_as_the_model_does(each_lm) -> None:
    twin = quick(each_lm)
    assert twin is not each_lm.model
    assert any(isinstance(module, QuickLinear) for module in twin.modules())
    for count in (1, 2, 9, 33):
        ids = torch.arange(2, 2 + count)[None] % each_lm.vocab_size
        assert torch.allclose(logits_of(twin, ids), logits_of(each_lm.model, ids), atol=1e-4)


def test_the_model_stays_as_it_was(tiny_gpt2) -> None:
    kinds = [type(module) for module in tiny_gpt2.model.modules()]
    before = last_logits(tiny_gpt2, torch.tensor([[2, 3, 4]]))
    twin = quick_twin(tiny_gpt2.model)
    assert [type(module) for module in tiny_gpt2.model.modules()] == kinds
    assert torch.equal(last_logits(tiny_gpt2, torch.tensor([[2, 3, 4]])), before)
    shared = {p.data_ptr() for p in tiny_gpt2.model.parameters()}
    assert {p.data_ptr() for p in twin.parameters()} <= shared, "weights were copied"


def test_the_twin_is_made_once(tiny_llama) -> None:
    assert quick(tiny_llama) is quick(tiny_llama)


def test_where_there_is_nothing_to_gain_it_is_the_model_itself(tiny_gpt2, rows_lm) -> None:
    fake = rows_lm([[0.0, 1.0]]).model
    assert quick_twin(fake) is fake
    half = type(tiny_gpt2.model)(tiny_gpt2.model.config).to(torch.bfloat16).eval()
    assert quick_twin(half) is half
    training = type(tiny_gpt2.model)(tiny_gpt2.model.config).train()
    assert quick_twin(training) is training


def test_one_layer_that_half_precision_lacks_is_made_lean_otherwise(lm) -> None:
    """Layers of one shape may differ in this, as after training some of them only."""
    model = copy.deepcopy(lm.model)
    blocks = model.transformer.h
    with torch.no_grad():
        for layer in (blocks[3].attn.c_attn, blocks[1].mlp):
            for weight in (p for p in layer.parameters() if p.ndim == 2):
                weight.mul_(1.0001)
    ids = torch.arange(2, 11)[None]
    twin = quick_twin(model)
    assert twin is not model
    assert torch.allclose(logits_of(twin, ids), logits_of(model, ids), atol=1e-4)


def test_making_a_twin_changes_no_weight(tiny_llama) -> None:
    model = copy.deepcopy(tiny_llama.model)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.copy_(torch.ones(1)).view(-1)[0] = float("inf")
    before = {name: p.clone() for name, p in model.named_parameters()}
    quick_twin(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_model_that_has_decoded_can_be_copied(lm) -> None:
    wanted = speculate(lm, "The king", "heads_tree", 12).new_ids
    twice = copy.deepcopy(lm)
    assert speculate(twice, "The king", "heads_tree", 12).new_ids == wanted
    with torch.no_grad():
        twice.model.lm_head.weight.neg_()
    assert speculate(twice, "The king", None, 12).new_ids != wanted
    assert speculate(lm, "The king", None, 12).new_ids == wanted


def test_lean_layers_of_any_module_answer_as_they_do() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 9), nn.SiLU(), nn.Linear(9, 4, bias=False)).eval()
    lean = quick_layers(module)
    assert [type(part) for part in module] == [nn.Linear, nn.SiLU, nn.Linear]
    for count in (1, 5, MOST_ROWS + 3):
        rows = torch.randn(count, 6)
        assert torch.allclose(lean(rows), module(rows), atol=1e-5)


def test_parts_of_a_module_may_stay_as_they_are() -> None:
    module = nn.Sequential(nn.Linear(6, 9), nn.SiLU(), nn.Linear(9, 4)).eval()
    lean = quick_layers(module, but=("2",))
    assert [type(part) for part in lean] == [QuickLinear, nn.SiLU, nn.Linear]


def test_linear_layers_of_both_kinds_keep_their_shapes() -> None:
    torch.manual_seed(1)
    for layer in (nn.Linear(6, 5), nn.Linear(6, 5, bias=False), Conv1D(5, 6)):
        model = nn.Sequential(layer)
        weight = layer.weight.detach().t() if isinstance(layer, Conv1D) else layer.weight.detach()
        bias = None if layer.bias is None else layer.bias.detach()
        for choice in range(2):
            lean = QuickLinear(weight, bias, (choice, choice, choice))
            for shape in ((1, 1, 6), (2, 3, 6), (4, 6), (5, 9, 6)):
                x = torch.randn(shape)
                assert torch.allclose(lean(x), model(x), atol=1e-5)


def test_a_gpt2_block_is_lean_with_a_mask_a_cache_and_neither(tiny_gpt2) -> None:
    twin, model = quick_twin(tiny_gpt2.model), tiny_gpt2.model
    assert sum(isinstance(module, QuickBlock) for module in twin.modules()) == 2
    ids = torch.tensor([[2, 3, 4, 5, 6, 7, 8, 9]])
    assert torch.allclose(logits_of(twin, ids), logits_of(model, ids), atol=1e-4)
    mask = torch.full((1, 1, 3, 8), torch.finfo(torch.float32).min)
    mask[..., :5] = 0  # each of the last three sees the first five and itself
    mask[..., range(3), range(5, 8)] = 0
    places = torch.tensor([[5, 5, 5]])
    answers = []
    with torch.inference_mode():
        for each in (twin, model):
            cache = growing_cache(model.config)
            each(input_ids=ids[:, :5], past_key_values=cache)
            knobs = {"attention_mask": mask, "position_ids": places, "past_key_values": cache}
            answers.append(each(input_ids=ids[:, 5:], **knobs).logits)
    assert torch.allclose(*answers, atol=1e-4)


def test_several_texts_at_once_are_answered_as_the_model_does(tiny_gpt2) -> None:
    ids = torch.arange(2, 12).view(2, 5)
    with torch.inference_mode():
        ours, theirs = (model(ids).logits for model in (quick(tiny_gpt2), tiny_gpt2.model))
        cache = growing_cache(tiny_gpt2.model.config)
        places = torch.arange(5).expand(2, 5)
        cached = quick(tiny_gpt2)(ids, past_key_values=cache, position_ids=places, use_cache=True)
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert torch.allclose(cached.logits, theirs, atol=1e-4)


def test_a_layer_that_is_nearly_dead_is_made_lean_as_well(tiny_gpt2) -> None:
    model = copy.deepcopy(tiny_gpt2.model)
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_fc.weight.mul_(0.1)
            block.mlp.c_fc.bias.fill_(-4.0)  # the activation leaves next to nothing of it
    twin = quick_twin(model)
    assert any(isinstance(module, QuickMLP) for module in twin.modules())
    for count in (1, 9):
        ids = torch.arange(2, 2 + count)[None]
        assert torch.allclose(logits_of(twin, ids), logits_of(model, ids), atol=1e-4)


def test_something_else_in_the_place_of_dropout_stays(tiny_gpt2) -> None:
    class Halves(nn.Module):
        def forward(self, x):
            return x / 2

    model = copy.deepcopy(tiny_gpt2.model)
    for block in model.transformer.h:
        block.mlp.dropout = Halves()
    twin, ids = quick_twin(model), torch.tensor([[2, 3, 4]])
    assert not any(isinstance(module, QuickMLP) for module in twin.modules())
    assert torch.allclose(logits_of(twin, ids), logits_of(model, ids), atol=1e-4)
    assert not torch.allclose(logits_of(twin, ids), logits_of(tiny_gpt2.model, ids), atol=1e-4)


def test_only_the_usual_second_half_of_a_block_is_made_lean(tiny_gpt2) -> None:
    for activation, lean in (("gelu_new", 2), ("relu", 0)):
        config = copy.deepcopy(tiny_gpt2.model.config)
        config.activation_function = activation
        model = type(tiny_gpt2.model)(config).eval()
        twin = quick_twin(model)
        assert sum(isinstance(module, QuickMLP) for module in twin.modules()) == lean
        ids = torch.tensor([[2, 3, 4]])
        assert torch.allclose(logits_of(twin, ids), logits_of(model, ids), atol=1e-4)


def test_a_block_of_another_kind_stays(tiny_gpt2, tiny_llama) -> None:
    config = type(tiny_gpt2.model.config)(**tiny_gpt2.model.config.to_dict())
    config._attn_implementation = "eager"
    eager = type(tiny_gpt2.model)(config).eval()
    for model in (eager, tiny_llama.model):
        assert not any(isinstance(module, QuickBlock) for module in quick_twin(model).modules())


def test_a_twin_that_answers_otherwise_is_not_used(tiny_gpt2, monkeypatch) -> None:
    def wrong(block, x, texts, cache, mask):
        cache.update(*(torch.zeros(texts, 2, len(x) // texts, 16) for _ in range(2)), block.layer)
        return x

    monkeypatch.setattr(QuickBlock, "rows", wrong)
    assert quick_twin(tiny_gpt2.model) is tiny_gpt2.model


def test_changed_weights_make_a_new_twin(tiny_llama) -> None:
    model = type(tiny_llama.model)(tiny_llama.model.config).eval()
    lm = dataclasses.replace(tiny_llama, model=model)
    before = speculate(lm, "abc", None, 8)
    model.load_state_dict(tiny_llama.model.state_dict())
    assert speculate(lm, "abc", None, 8).new_ids == run_greedy(lm, "abc", 8).new_ids
    assert before.new_ids != run_greedy(lm, "abc", 8).new_ids, "nothing changed: a void test"


def test_another_default_type_does_no_harm(tiny_gpt2) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert quick_twin(tiny_gpt2.model) is not tiny_gpt2.model
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_activation_is_gpt2s_own_for_few_and_many_numbers() -> None:
    for rows in (1, 2, 9, 40):
        x = 4 * torch.randn(rows, 1024)
        assert torch.allclose(QuickGelu()(x), NewGELUActivation()(x), atol=2e-6)


def test_a_pass_with_options_is_gpt2s_own(tiny_gpt2) -> None:
    """The lean body takes plain passes only; a padded batch or hidden states go the usual way."""
    twin, model = quick_twin(tiny_gpt2.model), tiny_gpt2.model
    assert type(twin.base_model) is QuickGPT2
    ids, mask = torch.tensor([[0, 0, 2, 3], [4, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1], [1] * 4])
    with torch.inference_mode():
        for options in ({"attention_mask": mask}, {"output_hidden_states": True}, {}):
            said = [each.base_model(input_ids=ids, **options) for each in (twin, model)]
            assert torch.allclose(said[0][0], said[1][0], atol=1e-4), options


def test_many_tokens_on_a_cache_without_a_mask_are_causal(tiny_gpt2) -> None:
    twin, model = quick_twin(tiny_gpt2.model), tiny_gpt2.model
    said = []
    with torch.inference_mode():
        for each in (twin, model):
            cache = growing_cache(model.config)
            for places in (torch.arange(3)[None], torch.arange(3, 8)[None]):
                fed = {"input_ids": places + 2, "position_ids": places, "use_cache": True}
                said.append(each.base_model(**fed, past_key_values=cache).last_hidden_state)
    assert torch.allclose(said[0], said[2], atol=1e-4)
    assert torch.allclose(said[1], said[3], atol=1e-4)


PROMPT = "abcj.i"


def same_text(lm) -> bool:
    return speculate(lm, PROMPT, "ngram", 20).new_ids == run_greedy(lm, PROMPT, 20).new_ids


def fresh_gpt2():
    tokenizer = small_tokenizer()
    return make_lm(tokenizer, small_gpt2(len(tokenizer)), "tiny-gpt2")


class Rare(nn.Embedding):
    """A table that says something else of most tokens."""

    def forward(self, ids):
        return super().forward(ids) + 3 * (ids > 9)[..., None] * torch.linspace(-1, 1, 32)


class Stretch(nn.Embedding):
    """Positions that go on at half the pace from the sixth on."""

    def forward(self, ids):
        return super().forward(torch.where(ids < 6, ids, 6 + (ids - 6) // 2))


@pytest.mark.parametrize(("name", "kind"), [("wte", Rare), ("wpe", Stretch)])
def test_tables_of_a_special_kind_are_asked(name, kind) -> None:
    lm = fresh_gpt2()
    getattr(lm.model.transformer, name).__class__ = kind
    assert type(quick(lm).base_model) is not QuickGPT2
    assert same_text(lm)


def test_a_wrapped_table_is_asked() -> None:
    lm = fresh_gpt2()
    lm.model.transformer.wpe = nn.Sequential(lm.model.transformer.wpe)
    assert same_text(lm)


def louder(_module, _inputs, output):
    first = output[0] if isinstance(output, tuple) else output
    return (3 * first, *output[1:]) if isinstance(output, tuple) else 3 * first


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("part", ["transformer.wte", "transformer.h.0.attn", "lm_head"])
def test_a_part_with_a_hook_is_asked(part, when) -> None:
    lm = fresh_gpt2()
    if when == "after":
        assert same_text(lm)
    hook = lm.model.get_submodule(part).register_forward_hook(louder)
    assert same_text(lm)
    assert quick(lm) is lm.model
    hook.remove()
    assert same_text(lm)
    assert quick(lm) is not lm.model


def by_data(model) -> None:
    for p in model.parameters():
        p.data = p.data.flip(0).clone()


def by_assignment(model) -> None:
    other = small_gpt2(len(small_tokenizer()))
    flipped = {name: tensor.flip(0).clone() for name, tensor in other.state_dict().items()}
    model.load_state_dict(flipped, assign=True)
    model.tie_weights()


def by_another_body(model) -> None:
    other = small_gpt2(len(small_tokenizer())).eval()
    by_data(other)
    model.transformer = other.transformer


def train(model, steps=3) -> None:
    ids = torch.arange(2, 10)[None]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("change", [by_data, by_assignment, by_another_body, train])
def test_weights_that_change_in_any_seen_way_make_a_new_twin(change) -> None:
    lm = fresh_gpt2()
    assert same_text(lm)
    before, twin = run_greedy(lm, PROMPT, 20).new_ids, quick(lm)
    change(lm.model)
    assert run_greedy(lm, PROMPT, 20).new_ids != before, "the change must matter"
    assert same_text(lm)
    assert quick(lm) is not twin


def test_a_copy_that_learns_as_much_as_the_original_has_its_own_twin() -> None:
    lm = fresh_gpt2()
    train(lm.model)
    assert same_text(lm)
    other = copy.deepcopy(lm)
    train(other.model)
    assert same_text(other)


def test_a_cache_of_fixed_size_is_left_to_gpt2(tiny_gpt2) -> None:
    answers = []
    for model in (tiny_gpt2.model, quick(tiny_gpt2)):
        cache = StaticCache(config=model.config, max_cache_len=16)
        fed = {"past_key_values": cache, "use_cache": True}
        rows = []
        for place in range(4):
            at = torch.tensor([[place]])
            with torch.inference_mode():
                rows.append(model.base_model(input_ids=at + 2, position_ids=at, **fed)[0])
        answers.append(torch.cat(rows, dim=1))
    assert torch.allclose(*answers, atol=1e-4)


@pytest.mark.parametrize("places", [1, 2, 5])
def test_a_model_of_few_places_has_a_twin(places) -> None:
    tokenizer = small_tokenizer()
    config = small_gpt2(len(tokenizer)).config
    config.n_positions = places
    lm = make_lm(tokenizer, GPT2LMHeadModel(config), "short")
    if places == 1:
        assert isinstance(quick(lm), GPT2LMHeadModel)
    else:
        assert speculate(lm, "a", "ngram", 9).new_ids == run_greedy(lm, "a", 9).new_ids


def test_a_quantised_model_decodes(tiny_gpt2, monkeypatch) -> None:
    engines = torch.backends.quantized.supported_engines
    monkeypatch.setattr(torch.backends.quantized, "engine", engines[-1])
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(tiny_gpt2.model), {nn.Linear})
    lm = make_lm(tiny_gpt2.tokenizer, small, "quantised")
    assert speculate(lm, PROMPT, "ngram", 9).new_ids == run_greedy(lm, PROMPT, 9).new_ids


def test_a_first_use_in_inference_mode_does_no_harm() -> None:
    lm = load_lm(device="cpu")
    with torch.inference_mode():
        inside = speculate(lm, "Once", "heads_tree", 8).new_ids
    assert speculate(lm, "Once", "heads_tree", 8).new_ids == inside


def test_an_lm_that_has_decoded_can_be_pickled_and_copied(lm) -> None:
    used = copy.deepcopy(lm)
    speculate(used, "Once upon a time", "heads_tree", 8)
    for again in (pickle.loads(pickle.dumps(used)), copy.copy(used), copy.deepcopy(used)):
        assert speculate(again, "Once upon a time", None, 8).new_ids == (
            run_greedy(lm, "Once upon a time", 8).new_ids
        )


def test_a_twin_is_made_anew_after_a_fused_optimizer(lm) -> None:
    """It changes weights and counts no version of them."""
    trained = copy.deepcopy(lm)
    speculate(trained, "Once upon a time", None, 3)
    twin, versions = quick(trained), [version_of(p) for p in trained.model.parameters()]
    optimizer = torch.optim.AdamW(trained.model.parameters(), lr=0.05, fused=True)
    ids = torch.arange(10)[None]
    trained.model(ids, labels=ids).loss.backward()
    optimizer.step()
    assert [version_of(p) for p in trained.model.parameters()] == versions, "it does count now"
    run = speculate(trained, "Once upon a time", None, 10)
    assert quick(trained) is not twin
    assert run.new_ids == run_greedy(trained, "Once upon a time", 10).new_ids
