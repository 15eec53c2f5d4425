"""Which models have a quick twin; it follows their changes, and leaves them as they were."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import pickle
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from tiny_models import CONTEXT, same_weights, small_gpt2, small_llama, small_tokenizer
from torch import nn
from transformers import AttentionInterface, GPT2LMHeadModel, MistralConfig, MistralForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import medusa_lib
from medusa_lib import encode, last_logits, load_lm, make_lm, run_greedy, speculate
from medusa_lib.beyond.one_pass import State, one_pass
from medusa_lib.engine.arrays import PlainLoops
from medusa_lib.engine.twin import (
    COMPILING,
    get_ready,
    is_usual_code,
    make_twin,
    quick,
    refresh,
    spread_ids,
    version_of,
)

PROMPT = "abcj.i"
PACKAGE = Path(medusa_lib.__file__).parent


def same_text(lm) -> bool:
    """A run starts with what the model says now: the same logits to begin with, the same text."""
    run = speculate(lm, PROMPT, "ngram", 20)
    logits = one_pass(State.start(lm, run.prompt_ids), [])[-1]
    alike = torch.allclose(logits, says(lm), atol=1e-4 * float(says(lm).abs().max()))
    return alike and run.new_ids == run_greedy(lm, PROMPT, 20).new_ids


def says(lm) -> torch.Tensor:
    """The model's own logits after the prompt."""
    return last_logits(lm, encode(lm, PROMPT))


@pytest.fixture(params=[small_gpt2, small_llama])
def fresh(request):
    """A model that a test may change."""
    tokenizer = small_tokenizer()
    return make_lm(tokenizer, request.param(len(tokenizer)), "fresh")


def has_twin(lm) -> bool:
    refresh(lm)
    return quick(lm) is not None


def test_the_twin_answers_as_the_model_does(each_lm) -> None:
    twin = quick(each_lm)
    for count in (1, 2, 9, 33):
        ids = [2 + place % (each_lm.vocab_size - 2) for place in range(count)]
        with torch.inference_mode():
            wanted = each_lm.model(torch.tensor([ids])).logits[0]
        assert torch.allclose(twin.read(twin.new_cache(), ids)[0], wanted, atol=1e-4)


def test_the_model_stays_as_it_was(fresh) -> None:
    before = copy.deepcopy(fresh.model)
    kinds = [type(module) for module in fresh.model.modules()]
    assert has_twin(fresh)
    assert [type(module) for module in fresh.model.modules()] == kinds
    assert same_weights(fresh.model, before)


def test_the_twin_is_made_once(fresh) -> None:
    twin = quick(fresh)
    assert same_text(fresh)
    assert quick(fresh) is twin


def test_models_of_other_kinds_go_their_own_way(tiny_gpt2, rows_lm) -> None:
    config = tiny_gpt2.model.config
    assert make_twin(rows_lm([[0.0, 1.0]]).model) is None
    assert make_twin(GPT2LMHeadModel(config).to(torch.bfloat16).eval()) is None
    assert make_twin(GPT2LMHeadModel(config).train()) is None
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"intermediate_size": 8, "num_key_value_heads": 1, "vocab_size": 14}
    assert make_twin(MistralForCausalLM(MistralConfig(**shape, **sizes)).eval()) is None


@pytest.mark.parametrize(
    "option",
    [
        {"activation_function": "relu"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"add_cross_attention": True},
    ],
)
def test_a_gpt2_with_other_options_goes_its_own_way(tiny_gpt2, option) -> None:
    config = type(tiny_gpt2.model.config)(**{**tiny_gpt2.model.config.to_dict(), **option})
    lm = make_lm(tiny_gpt2.tokenizer, GPT2LMHeadModel(config), "other")
    assert not has_twin(lm)
    assert same_text(lm)


def test_without_numba_the_text_is_the_same(fresh, monkeypatch) -> None:
    wanted = speculate(fresh, PROMPT, None, 20).new_ids
    other = dataclasses.replace(fresh)
    for name in ("numba", "medusa_lib.engine.arrays", "medusa_lib.engine.forward"):
        monkeypatch.setitem(sys.modules, name, None)  # so that importing it fails
    monkeypatch.delitem(sys.modules, "medusa_lib.engine.weights")
    assert not has_twin(other)
    assert (
        speculate(other, PROMPT, None, 20).new_ids
        == wanted
        == run_greedy(other, PROMPT, 20).new_ids
    )


def test_where_the_processor_refuses_the_text_is_the_same(fresh, monkeypatch) -> None:
    def refuse(*_):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr("medusa_lib.engine.arrays.forward", refuse)
    assert not has_twin(fresh)
    assert same_text(fresh)


def test_a_twin_that_answers_otherwise_is_not_used(fresh, monkeypatch) -> None:
    original = PlainLoops.__call__

    def wrong(self, *fed):
        logits, hidden = original(self, *fed)
        return 1.001 * logits, hidden

    monkeypatch.setattr(PlainLoops, "__call__", wrong)
    assert not has_twin(fresh)


def louder(_module, _inputs, output):
    first = output[0] if isinstance(output, tuple) else output
    return (3 * first, *output[1:]) if isinstance(output, tuple) else 3 * first


PARTS = {
    GPT2LMHeadModel: ["transformer.wte", "transformer.h.0.attn", "transformer", "lm_head"],
    "llama": ["model.embed_tokens", "model.layers.0.self_attn", "lm_head"],
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_that_alters_is_obeyed_until_it_is_gone(fresh, place, when) -> None:
    part = PARTS.get(type(fresh.model), PARTS["llama"])[place]
    if when == "after":
        assert same_text(fresh)
    before = says(fresh)
    module = fresh.model.get_submodule(part)
    alter = louder if part != "transformer" else louder_hidden
    hook = module.register_forward_hook(alter)
    assert same_text(fresh)
    assert quick(fresh) is None
    assert not torch.equal(says(fresh), before), "the hook must matter"
    hook.remove()
    assert same_text(fresh)
    assert quick(fresh) is not None


def louder_hidden(_module, _inputs, output):
    output.last_hidden_state = output.last_hidden_state.flip(-1)
    return output


def test_a_hook_on_the_whole_model_alters_each_pass(fresh) -> None:
    def reverse(_module, _inputs, output):
        output.logits = output.logits.flip(-1)
        return output

    before = says(fresh)
    fresh.model.register_forward_hook(reverse)
    assert same_text(fresh)
    assert not torch.equal(says(fresh), before)


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_hook_that_only_looks_is_called_once_a_pass(fresh, kind, whole) -> None:
    run = speculate(fresh, PROMPT, "ngram", 20)
    calls = []
    part = fresh.model if whole else fresh.model.base_model
    hook = getattr(part, kind)(lambda *_: calls.append(1))
    again = speculate(fresh, PROMPT, "ngram", 20)
    hook.remove()
    assert again.new_ids == run.new_ids
    assert len(calls) == again.model_passes


def test_a_hook_on_every_module_there_is_is_called(fresh) -> None:
    calls = []
    hook = nn.modules.module.register_module_forward_hook(lambda *_: calls.append(1))
    try:
        assert same_text(fresh)
        assert quick(fresh) is None
    finally:
        hook.remove()
    assert calls


def test_hooks_that_transformers_puts_there_itself_do_no_harm(fresh) -> None:
    ids = encode(fresh, PROMPT)
    fresh.model(ids, output_hidden_states=True)
    assert same_text(fresh)
    assert quick(fresh) is not None


def test_a_hook_of_a_package_whose_name_begins_with_torch_is_somebody_elses(fresh) -> None:
    def reverse(_module, _given, said):
        said.logits.neg_()

    folder = str(Path(torch.__file__).parent)
    code = reverse.__code__.replace(co_filename=f"{folder}_steering/hooks.py")
    assert same_text(fresh)
    before = says(fresh)
    fresh.model.register_forward_hook(types.FunctionType(code, globals()))
    assert not torch.equal(says(fresh), before)
    assert same_text(fresh)
    assert not has_twin(fresh)
    assert is_usual_code(nn.Linear.forward)


def test_a_replaced_forward_is_obeyed(fresh) -> None:
    assert same_text(fresh)
    before, original = says(fresh), fresh.model.forward

    def reversed_logits(*args, **kwargs):
        out = original(*args, **kwargs)
        out.logits = out.logits.flip(-1)
        return out

    fresh.model.forward = reversed_logits
    assert same_text(fresh)
    assert not torch.equal(says(fresh), before)
    del fresh.model.forward
    assert same_text(fresh)
    assert torch.equal(says(fresh), before)


def test_a_forward_replaced_in_the_class_is_obeyed(fresh, monkeypatch) -> None:
    assert same_text(fresh)
    before, kind = says(fresh), type(fresh.model.base_model)
    original = kind.forward

    def halved(self, *args, **kwargs):
        out = original(self, *args, **kwargs)
        out.last_hidden_state = out.last_hidden_state.flip(-1)
        return out

    monkeypatch.setattr(kind, "forward", halved)
    assert same_text(fresh)
    assert not torch.equal(says(fresh), before)


class Wrapper(nn.Module):
    """A model around a model, as adapters are: what it adds comes after the other's answer."""

    def __init__(self, inner):
        super().__init__()
        self.base_model, self.config, self.dtype = inner, inner.config, inner.dtype
        self.added = nn.Parameter(torch.linspace(-3, 3, inner.config.vocab_size))

    def get_input_embeddings(self):
        return self.base_model.get_input_embeddings()

    def forward(self, *args, **kwargs):
        out = self.base_model(*args, **kwargs)
        out.logits = out.logits + self.added
        return out


def test_a_wrapper_is_obeyed(fresh) -> None:
    wrapped = dataclasses.replace(fresh, model=Wrapper(fresh.model).eval())
    assert not has_twin(wrapped)
    assert same_text(wrapped)
    assert not torch.equal(says(wrapped), says(fresh))


class Adapter(nn.Module):
    """A linear layer with something added, as LoRA puts it in a layer's place."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) + x.flip(-1).repeat(1, 1, 3)[..., : self.layer.weight.shape[1]]


def test_an_adapter_in_a_layers_place_is_obeyed() -> None:
    tokenizer = small_tokenizer()
    lm = make_lm(tokenizer, small_gpt2(len(tokenizer)), "adapted")
    assert same_text(lm)
    before = says(lm)
    attention = lm.model.transformer.h[0].attn
    attention.c_attn = Adapter(attention.c_attn)
    assert same_text(lm)
    assert quick(lm) is None
    assert not torch.equal(says(lm), before)


class Rare(nn.Embedding):
    """A table that says something else of most tokens."""

    def forward(self, ids):
        return super().forward(ids) + 3 * (ids > 9)[..., None] * torch.linspace(-1, 1, 32)


class Stretch(nn.Embedding):
    """Positions that go on at half the pace from the sixth on."""

    def forward(self, ids):
        return super().forward(torch.where(ids < 6, ids, 6 + (ids - 6) // 2))


@pytest.mark.parametrize(("name", "kind"), [("wte", Rare), ("wpe", Stretch)])
def test_tables_of_a_special_kind_are_asked(tiny_gpt2, name, kind) -> None:
    lm = copy.deepcopy(tiny_gpt2)
    getattr(lm.model.transformer, name).__class__ = kind
    assert not has_twin(lm)
    assert same_text(lm)


@pytest.mark.parametrize("other", [nn.Identity(), nn.Tanh(), nn.Dropout(0.5).train()])
def test_another_part_in_a_parts_place_is_obeyed(tiny_gpt2, other) -> None:
    lm = copy.deepcopy(tiny_gpt2)
    lm.model.transformer.h[1].mlp.dropout = other
    assert not has_twin(lm)


@pytest.mark.parametrize(("name", "value"), [("scaling", 0.01), ("num_heads", 4)])
def test_a_setting_that_somebody_changed_is_obeyed(tiny_gpt2, name, value) -> None:
    lm = copy.deepcopy(tiny_gpt2)
    assert same_text(lm)
    before, attention = says(lm), lm.model.transformer.h[0].attn
    setattr(attention, name, value)
    if name == "num_heads":
        attention.head_dim = attention.embed_dim // value
    assert same_text(lm)
    assert quick(lm) is None
    assert not torch.equal(says(lm), before)


def test_autocast_is_obeyed(fresh) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = State.start(fresh, [2, 3, 4])
        rows = one_pass(state, [5])
        own = [last_logits(fresh, torch.tensor([ids])) for ids in ([2, 3, 4], [2, 3, 4, 5])]
    assert state.twin is None
    assert torch.allclose(rows, torch.stack(own), atol=0.1)
    assert State.start(fresh, [2]).twin is not None


def by_data(model) -> None:
    for p in model.parameters():
        p.data = p.data.flip(0).clone()


def by_writing_through_data(model) -> None:
    """Not the number in the middle, nor the sum of a version: one corner of one matrix."""
    model.lm_head.weight.data[0, :3] += 9


def by_assignment(model) -> None:
    flipped = {name: tensor.flip(0).clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(flipped, assign=True)
    model.tie_weights()


def by_another_body(model) -> None:
    other = copy.deepcopy(model)
    by_data(other)
    setattr(model, model.base_model_prefix, other.base_model)


def train(model, steps=3) -> None:
    ids = torch.arange(2, 10)[None]
    model.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


CHANGES = [by_data, by_writing_through_data, by_assignment, by_another_body, train]


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_change_make_a_new_twin(fresh, change) -> None:
    assert same_text(fresh)
    before, twin = says(fresh), quick(fresh)
    change(fresh.model)
    assert not torch.equal(says(fresh), before), "it must matter"
    assert same_text(fresh)
    assert quick(fresh) not in (twin, None)


def test_training_mode_is_obeyed(fresh) -> None:
    assert has_twin(fresh)
    fresh.model.train()
    assert not has_twin(fresh)
    fresh.model.eval()
    assert has_twin(fresh)


def test_a_copy_that_learns_as_much_as_the_original_has_its_own_twin(fresh) -> None:
    train(fresh.model)
    assert same_text(fresh)
    other = copy.deepcopy(fresh)
    train(other.model)
    assert same_text(other)


def test_a_model_that_has_decoded_can_be_copied(lm) -> None:
    wanted = speculate(lm, "The king", "heads_tree", 12).new_ids
    twice = copy.deepcopy(lm)
    assert speculate(twice, "The king", "heads_tree", 12).new_ids == wanted
    with torch.no_grad():
        twice.model.lm_head.weight.neg_()
    assert speculate(twice, "The king", None, 12).new_ids != wanted
    assert speculate(lm, "The king", None, 12).new_ids == wanted


@pytest.mark.parametrize("places", [1, 2, 5])
def test_a_model_of_few_places_has_a_twin(places) -> None:
    tokenizer = small_tokenizer()
    config = small_gpt2(len(tokenizer)).config
    config.n_positions = places
    lm = make_lm(tokenizer, GPT2LMHeadModel(config), "short")
    assert has_twin(lm)
    if places > 1:
        assert speculate(lm, "a", "ngram", 9).new_ids == run_greedy(lm, "a", 9).new_ids


def test_a_quantised_model_decodes(tiny_gpt2, monkeypatch) -> None:
    engines = torch.backends.quantized.supported_engines
    monkeypatch.setattr(torch.backends.quantized, "engine", engines[-1])
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(tiny_gpt2.model), {nn.Linear})
    lm = make_lm(tiny_gpt2.tokenizer, small, "quantised")
    assert not has_twin(lm)
    assert speculate(lm, PROMPT, "ngram", 9).new_ids == run_greedy(lm, PROMPT, 9).new_ids


def test_a_first_use_in_inference_mode_does_no_harm() -> None:
    lm = load_lm(device="cpu")
    with torch.inference_mode():
        inside = speculate(lm, "Once", "heads_tree", 8).new_ids
    assert speculate(lm, "Once", "heads_tree", 8).new_ids == inside


def test_another_default_type_does_no_harm(fresh) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert has_twin(fresh)
    finally:
        torch.set_default_dtype(torch.float32)


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
    assert quick(trained) not in (twin, None)
    assert run.new_ids == run_greedy(trained, "Once upon a time", 10).new_ids


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 0), (0.5, 1)])
def test_what_takes_a_while_is_said_once(fresh, monkeypatch, seconds, lines) -> None:
    said = []
    monkeypatch.setattr("medusa_lib.engine.twin.A_WHILE", 0.2)
    monkeypatch.setattr("medusa_lib.engine.twin.make_twin", lambda _model: time.sleep(seconds))
    for _ in range(2):
        get_ready(fresh, said.append)
    time.sleep(0.3)
    assert said == [COMPILING] * lines


def test_importing_compiles_nothing_and_not_even_loads_numba() -> None:
    code = "import sys, medusa_lib, medusa_lib.teaching.demo; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compiled_code_is_kept_where_the_package_cannot_be_written(tmp_path) -> None:
    """Both runs in fresh processes: the second finds what the first has compiled."""
    package = tmp_path / "medusa_lib"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import medusa_lib, medusa_lib.engine.forward as loops
medusa_lib.speculate(medusa_lib.load_lm(device="cpu"), "Once", None, 2)
print(medusa_lib.__file__, sum(loops.forward.stats.cache_hits.values()))
"""
    for folder in (package / "engine", *package.rglob("engine")):
        folder.chmod(0o555)
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")} if os.geteuid() == 0 else {}
    surroundings = {**os.environ, **kept, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    hits = []
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-B", "-c", code],
            env=surroundings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        where, hit = ran.stdout.split()
        assert where.startswith(str(tmp_path))
        hits.append(int(hit))
    assert hits == [0, 1]


@pytest.mark.parametrize("drafter", ["heads_tree", "heads_ngram", "branches"])
def test_a_wide_tree_fits_at_the_end_of_the_context(lm, drafter) -> None:
    prompt = " ".join(["the king and the queen"] * 101)[: 5 * 404]
    ids = encode(lm, prompt)[0]
    room = lm.context_length - len(ids)
    while room > 9:
        prompt += " and"
        room = lm.context_length - encode(lm, prompt).shape[1]
    assert 0 < room <= 9
    run = speculate(lm, prompt, drafter, 50)
    assert run.new_ids == run_greedy(lm, prompt, 50).new_ids


def swap_rows(model) -> None:
    """The sum of the weights stays as it was."""
    head = model.lm_head.weight.data
    head[[3, 4, 5, 6]] = head[[6, 5, 4, 3]]


def turn_otherwise(model) -> None:
    """A buffer, which is no parameter."""
    model.model.rotary_emb.inv_freq.mul_(0.1)


def fewer_layers(model) -> None:
    """A Llama takes as many layers as its config says, whatever it has."""
    model.config.num_hidden_layers = 1


class Otherwise(nn.Linear):
    """It has Linear's forward, and says something else when it is called."""

    def __call__(self, x):
        return -super().__call__(x)


def another_class(model) -> None:
    """What calls the forward is not the forward."""
    model.lm_head.__class__ = Otherwise


def tied_otherwise(model) -> None:
    """The same weights as before, one of them in another place as well."""
    first, second = model.model.layers
    second.input_layernorm.weight = first.post_attention_layernorm.weight


@pytest.mark.parametrize(
    "change", [swap_rows, turn_otherwise, fewer_layers, another_class, tied_otherwise]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_is_changed_is_seen(tiny_llama, change, when) -> None:
    lm = copy.deepcopy(tiny_llama)
    first, second = lm.model.model.layers
    second.input_layernorm.weight = first.input_layernorm.weight
    with torch.no_grad():
        first.post_attention_layernorm.weight.uniform_(0.2, 2)
    if when == "after":
        assert same_text(lm)
    before = says(lm)
    change(lm.model)
    assert not torch.equal(says(lm), before)
    assert same_text(lm)


def test_an_attention_that_somebody_registered_is_obeyed(fresh) -> None:
    def near(module, query, key, value, mask, **rest):
        scores = torch.full((query.shape[2], key.shape[2]), -1e9).triu(
            1 - query.shape[2] + key.shape[2]
        )
        scores += torch.full_like(scores, -1e9).tril(key.shape[2] - query.shape[2] - 2)
        rest.pop("is_causal", None)
        return sdpa_attention_forward(
            module, query, key, value, scores[None, None], is_causal=False, **rest
        )

    before = says(fresh)
    AttentionInterface.register("near", near)
    fresh.model.set_attn_implementation("near")
    assert not torch.equal(says(fresh), before)
    assert not has_twin(fresh)


def test_a_wrapped_forward_is_still_somebody_elses(fresh, monkeypatch) -> None:
    kind = type(fresh.model)
    original = kind.forward

    @functools.wraps(original)
    def reversed_logits(self, *args, **kwargs):
        out = original(self, *args, **kwargs)
        out.logits = out.logits.flip(-1)
        return out

    assert same_text(fresh)
    before = says(fresh)
    monkeypatch.setattr(kind, "forward", reversed_logits)
    assert same_text(fresh)
    assert not torch.equal(says(fresh), before)


def test_a_biased_output_layer_is_obeyed(fresh) -> None:
    head = nn.Linear(32, fresh.vocab_size)
    nn.init.uniform_(head.bias, -0.009, 0.009)
    with torch.no_grad():
        head.weight.copy_(fresh.model.lm_head.weight)
    fresh.model.lm_head = head.eval()
    assert not has_twin(fresh)
    assert same_text(fresh)


def test_a_norm_or_a_bias_that_is_missing_is_no_error(tiny_gpt2, tiny_llama) -> None:
    gpt2, llama = copy.deepcopy(tiny_gpt2), copy.deepcopy(tiny_llama)
    gpt2.model.transformer.h[0].ln_1.bias = None
    llama.model.model.layers[0].self_attn.q_proj = nn.Linear(32, 32).eval()
    for lm in (gpt2, llama):
        assert not has_twin(lm)
        assert same_text(lm)


class Demanding(GPT2LMHeadModel):
    """A model that cannot be made from its config alone."""

    def __init__(self, config, extra):
        super().__init__(config)
        self.extra = extra


def test_a_class_of_somebodys_own_is_no_error(tiny_gpt2) -> None:
    model = Demanding(tiny_gpt2.model.config, 3)
    model.load_state_dict(tiny_gpt2.model.state_dict())
    lm = make_lm(tiny_gpt2.tokenizer, model, "own")
    assert not has_twin(lm)
    assert same_text(lm)


def test_a_pass_without_a_run_sees_a_change_too(fresh) -> None:
    assert has_twin(fresh)
    with torch.no_grad():
        fresh.model.lm_head.weight.neg_()
    assert torch.allclose(
        one_pass(State.start(fresh, [2, 3]), [])[-1],
        last_logits(fresh, torch.tensor([[2, 3]])),
        atol=1e-4,
    )


def test_a_context_beyond_the_models_places_has_no_twin(tiny_llama) -> None:
    lm = dataclasses.replace(tiny_llama, context_length=CONTEXT + 20)
    assert not has_twin(lm)
    assert (
        speculate(lm, "ab", None, CONTEXT + 9).new_ids == run_greedy(lm, "ab", CONTEXT + 9).new_ids
    )


def test_an_interrupt_in_a_pass_is_an_interrupt_and_the_next_run_goes_on(lm) -> None:
    code = """
import signal
from medusa_lib import load_lm, speculate
lm, ended = load_lm(device="cpu"), []
wanted = speculate(lm, "Once upon a time", "heads_chain", 60).new_ids
signal.signal(signal.SIGALRM, signal.default_int_handler)
for tick in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.004 + tick / 4000)
        speculate(lm, "Once upon a time", "heads_chain", 200)
    except BaseException as error:
        ended.append(type(error).__name__)
    signal.setitimer(signal.ITIMER_REAL, 0)
assert set(ended) <= {"KeyboardInterrupt"}, ended
assert len(ended) > 20
assert speculate(lm, "Once upon a time", "heads_chain", 60).new_ids == wanted
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_text_that_decides_is_of_ordinary_tokens() -> None:
    ids = spread_ids(49_152, 6)
    assert len(set(ids)) == 6
    assert min(ids) > 1000  # the first ids are special ones
    assert spread_ids(1, 3) == [0, 0, 0]
    assert spread_ids(4, 4) == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_buffers_of_any_kind_do_no_harm(tiny_gpt2) -> None:
    wanted = run_greedy(tiny_gpt2, "abc", 8).new_ids
    odd = {
        "sparse": torch.eye(3).to_sparse(),
        "elsewhere": torch.empty(3, device="meta"),
        "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "single byte": torch.ones(5, dtype=torch.bool),
        "turned": torch.arange(6.0).view(2, 3).t(),
        "half": torch.ones(3).half(),
        "complex": torch.ones(3).cfloat().conj(),
        "empty": torch.ones(0),
        "said once": torch.ones(1).expand(4),
    }
    for name, buffer in odd.items():
        model = copy.deepcopy(tiny_gpt2.model)
        model.register_buffer(f"{name} one", buffer, persistent=False)
        lm = dataclasses.replace(tiny_gpt2, model=model)
        assert speculate(lm, "abc", None, 8).new_ids == wanted, name
