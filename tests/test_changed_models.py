"""What a user does to a model is obeyed by all decoders, or refused before any pass."""

import copy
import dataclasses
import threading

import pytest
import torch
from own_settings import all_texts, drafters_for
from panels import move, settle
from tiny_models import small_gpt2, small_llama, small_tokenizer
from torch import nn

from medusa_lib import (
    make_lm,
    medusa_tiny,
    run_greedy,
    speculate,
    stream,
)
from medusa_lib.beyond.near_ties import TIE_BOUNDS, NearTie
from medusa_lib.measure.numbers import by_columns
from medusa_lib.steps.loops import for_run
from medusa_lib.teaching.drafters import DraftersPanel

COUNT = 10


@pytest.fixture(params=["bookworm", "gpt2", "llama"])
def own(request):
    """A model that a test may change as it likes."""
    if request.param == "bookworm":
        shipped = request.getfixturevalue("lm")
        return dataclasses.replace(shipped, model=by_columns(copy.deepcopy(shipped.model)))
    tokenizer = small_tokenizer()
    make = {"gpt2": small_gpt2, "llama": small_llama}[request.param]
    return make_lm(tokenizer, make(len(tokenizer)), request.param)


def alike(lm, prompt="a bad face"):
    """The text that all decoders write."""
    texts = all_texts(lm, prompt, COUNT)
    assert {name: ids for name, ids in texts.items() if ids != texts["greedy"]} == {}
    return texts["greedy"]


def blocks(model):
    return model.base_model.h if hasattr(model.base_model, "h") else model.base_model.layers


class Adapter(nn.Module):
    """What PEFT puts around a linear layer: its own answer and a product of two thin matrices."""

    def __init__(self, base, size):
        super().__init__()
        self.base, self.on = base, True
        self.down, self.up = nn.Linear(size, 2, bias=False), nn.Linear(2, size, bias=False)
        nn.init.normal_(self.up.weight, std=2.0)

    def forward(self, x):
        said = self.base(x)
        return said + self.up(self.down(said)) if self.on else said


def wrap(model):
    """An adapter after the last layer of each block's MLP."""
    torch.manual_seed(1)
    found = []
    for block in blocks(model):
        name = "c_proj" if hasattr(block.mlp, "c_proj") else "down_proj"
        size = model.config.hidden_size
        setattr(block.mlp, name, Adapter(getattr(block.mlp, name), size))
        found.append(getattr(block.mlp, name))
    model.eval()
    return found


def test_an_adapter_is_obeyed_on_and_off(own):
    plain = alike(own)
    adapters = wrap(own.model)
    changed = alike(own)
    assert changed != plain, "the adapter must matter"
    for adapter in adapters:
        adapter.on = False
    assert alike(own) == plain
    for adapter in adapters:
        adapter.on = True
    assert alike(own) == changed


def test_adapters_of_peft_are_obeyed_switched_and_merged(own):
    peft = pytest.importorskip("peft", reason="needs the package peft")
    plain = alike(own)
    torch.manual_seed(0)
    options = {"r": 4, "lora_alpha": 64, "target_modules": "all-linear"}
    config = peft.LoraConfig(init_lora_weights=False, **options)
    wrapped = peft.get_peft_model(own.model, config)
    other = make_lm(own.tokenizer, wrapped)
    changed = alike(other)
    assert changed != plain, "the adapter must matter"
    with wrapped.disable_adapter():
        assert alike(other) == plain
    assert alike(other) == changed
    assert alike(dataclasses.replace(own, model=wrapped.merge_and_unload())) == changed


def by_an_optimizer(model):
    train(model, fused=False)


def by_a_fused_optimizer(model):
    train(model, fused=True)


def train(model, *, fused):
    """Two steps that make the first tokens of the vocabulary likely."""
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, fused=fused)
    ids = torch.tensor([[3, 4, 5, 6, 7, 3, 4, 5, 6, 7]])
    for _ in range(2):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.requires_grad_(False)


def by_loading(model):
    changed = {k: v.roll(1, -1) if v.ndim == 2 else v for k, v in model.state_dict().items()}
    model.load_state_dict(changed)


@torch.no_grad()
def in_place(model):
    model.get_output_embeddings().weight.neg_()


@pytest.mark.parametrize("change", [by_an_optimizer, by_a_fused_optimizer, by_loading, in_place])
def test_changed_weights_are_obeyed(own, change):
    plain = alike(own)
    change(own.model)
    assert alike(own) != plain, "it must matter"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_type_of_numbers_is_obeyed_and_back(own, dtype):
    plain = alike(own)
    own.model.to(dtype)
    alike(own)
    own.model.float()
    assert len(alike(own)) == len(plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_obeyed_by_all_and_leaves_no_trace(own, dtype):
    plain = alike(own)
    with torch.autocast("cpu", dtype=dtype):
        assert NearTie.of(own).bound == TIE_BOUNDS[dtype]
        for prompt in ("a bad face", "abc", "Once upon a time"):
            alike(own, prompt)
    assert NearTie.of(own).bound == TIE_BOUNDS[torch.float32]
    assert alike(own) == plain


def test_a_hook_that_makes_a_plain_tuple_of_the_answer_is_obeyed(own):
    plain = alike(own)
    hook = own.model.register_forward_hook(lambda _m, _x, said: (-said[0], *said[1:]))
    assert alike(own) != plain
    hook.remove()
    assert alike(own) == plain


PARTS = {
    "whole": lambda model: model,
    "body": lambda model: model.base_model,
    "block": lambda model: blocks(model)[-1],
    "output": lambda model: model.get_output_embeddings(),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_steering_hook_is_obeyed_until_it_is_gone(own, part):
    plain = alike(own)

    def steer(_module, _given, said):
        """Turn what a part says around, whatever it is packed in."""
        numbers = said if isinstance(said, torch.Tensor) else said[0]
        turned = -2 * numbers.roll(1, -1)
        if isinstance(said, torch.Tensor):
            return turned
        if isinstance(said, tuple):
            return (turned, *said[1:])
        said[next(iter(said))] = turned
        return said

    hook = PARTS[part](own.model).register_forward_hook(steer)
    assert alike(own) != plain, "it must matter"
    hook.remove()
    assert alike(own) == plain


@pytest.mark.parametrize("part", ["model", "layer"])
def test_a_model_in_training_is_refused_before_any_pass(own, refuses, part):
    (own.model if part == "model" else blocks(own.model)[0]).train()
    decoders = [run_greedy, medusa_tiny, speculate, stream, lambda lm, text: for_run(lm, text, 3)]
    for decode in decoders:
        with refuses("lm", lm=own):
            decode(own, "abc")
    for name in drafters_for(own):
        with refuses("lm", lm=own):
            speculate(own, "abc", name)
    own.model.eval()
    assert run_greedy(own, "abc", 3).new_ids


def test_four_threads_share_a_model(lm):
    prompts = ("The king", "Once upon a time", "A fox", "She said")
    wanted = {prompt: run_greedy(lm, prompt, 12).new_ids for prompt in prompts}
    wrong = []

    def write(prompt):
        for name in ("heads_tree", "ngram", "self", "lookahead"):
            try:
                if speculate(lm, prompt, name, 12).new_ids != wanted[prompt]:
                    wrong.append((prompt, name))
            except Exception as error:
                wrong.append((prompt, name, error))

    threads = [threading.Thread(target=write, args=[prompt]) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_two_panels_at_once_share_a_model(lm):
    panels = [DraftersPanel(lm, prompt, 10) for prompt in ("The king", "A fox")]
    for span in (2, 5, 3):
        for panel in panels:
            panel.span.value = span  # the run before is overtaken
    for panel in panels:
        settle(panel)
        move(panel, drafter="self")
        emitted = [token for record in panel.loops for token in record.emitted]
        assert emitted == run_greedy(lm, panel.prompt, 10).new_ids
