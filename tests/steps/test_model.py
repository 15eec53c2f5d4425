"""STEP1: tokenizer and model load together, and what is wrong is said in one line."""

import re

import bad_values as bad
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_models import CONTEXT, LETTERS, same_weights, small_gpt2, small_tokenizer

import medusa_lib.steps.model as stage
from medusa_lib import (
    LM,
    ModelLoadError,
    decode,
    encode,
    last_logits,
    load_lm,
    load_model,
    load_tokenizer,
    make_lm,
    medusa_tiny,
    run_greedy,
)

WEIGHTS = "model.safetensors"


def test_the_shipped_model_is_the_default(lm):
    assert lm.model_id == "bookworm"
    assert lm.tokenizer.eos_token_id == lm.eos_id
    assert lm.context_length == 512
    assert lm.device.type == "cpu"


def test_weights_are_float32_in_eval_mode_with_the_cache_on(lm):
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}
    assert not lm.model.training
    assert lm.model.config.use_cache


def test_an_lm_says_what_it_is(tiny_gpt2):
    assert re.fullmatch(r"LM\(tiny-gpt2, 0\.\d M parameters, cpu, EOS_ID=0\)", repr(tiny_gpt2))


def test_a_saved_folder_loads_as_the_same_model(tiny_folder, tiny_gpt2):
    loaded = load_lm(str(tiny_folder()), "cpu")
    ids = encode(loaded, "abc")
    assert same_weights(loaded.model, tiny_gpt2.model)
    assert torch.allclose(last_logits(loaded, ids), last_logits(tiny_gpt2, ids), atol=1e-5)
    assert loaded.context_length == CONTEXT


def test_half_precision_weights_are_computed_in_float32(tiny_folder):
    folder = tiny_folder()
    half = {k: v.half() for k, v in load_file(folder / WEIGHTS).items()}
    save_file(half, folder / WEIGHTS, {"format": "pt"})
    model = load_model(str(folder), "cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_environment_names_the_model(tiny_folder, monkeypatch):
    folder = str(tiny_folder())
    monkeypatch.setenv("MEDUSA_MODEL", folder)
    assert load_lm(device="cpu").model_id == folder
    monkeypatch.setenv("MEDUSA_MODEL", "")
    assert load_lm(device="cpu").model_id == "bookworm"


def test_an_id_given_outright_beats_the_environment(tiny_folder, monkeypatch):
    monkeypatch.setenv("MEDUSA_MODEL", "/nowhere")
    folder = str(tiny_folder())
    assert load_lm(folder, "cpu").model_id == folder


def test_a_missing_eos_becomes_a_real_token_and_the_embeddings_grow(tiny_folder):
    folder = str(tiny_folder(eos=False))
    old = len(LETTERS) + 1
    tokenizer = load_tokenizer(folder)
    assert tokenizer.eos_token
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == old
    lm = load_lm(folder, "cpu")
    assert lm.eos_id == old
    assert lm.vocab_size == lm.model.config.vocab_size == old + 1
    assert last_logits(lm, encode(lm, "abc")).shape == (old + 1,)
    assert encode(lm, "a" + lm.tokenizer.eos_token).tolist() == [[1, old]]
    assert decode(lm, [1, old]) == "a"


def test_a_grown_model_is_the_same_at_each_loading(tiny_folder):
    folder = str(tiny_folder(eos=False))
    state = torch.get_rng_state()
    first, second = load_lm(folder, "cpu"), load_lm(folder, "cpu")
    assert same_weights(first.model, second.model)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_without_eos_still_decodes_alike(tiny_folder):
    lm = load_lm(str(tiny_folder(eos=False)), "cpu")
    assert medusa_tiny(lm, "abc", 12).new_ids == run_greedy(lm, "abc", 12).new_ids


def test_pad_reuses_eos_only_where_it_is_missing(tiny_folder):
    folder = tiny_folder()
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0
    assert len(tokenizer) == len(LETTERS) + 2
    tokenizer.pad_token = "a"
    tokenizer.save_pretrained(folder)
    assert load_tokenizer(str(folder)).pad_token == "a"


def test_make_lm_mends_what_is_in_memory():
    tokenizer = small_tokenizer(eos=False)
    model = small_gpt2(len(tokenizer)).train()
    lm = make_lm(tokenizer, model)
    assert isinstance(lm, LM)
    assert lm.eos_id == len(LETTERS) + 1
    assert lm.vocab_size == len(LETTERS) + 2
    assert not lm.model.training


def test_make_lm_leaves_a_larger_vocabulary_as_it_is():
    lm = make_lm(small_tokenizer(), small_gpt2(50))
    assert lm.vocab_size == 50
    assert decode(lm, [2, 49]) == "a"


def test_a_model_without_a_stated_context_takes_the_tokenizers():
    model = small_gpt2(20)
    model.config = type("Config", (), {"vocab_size": 20})()
    assert make_lm(small_tokenizer(), model).context_length == CONTEXT


def cut(folder):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def change(folder, edit):
    weights = load_file(folder / WEIGHTS)
    edit(weights)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def drop_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


LAYER = "transformer.h.1.mlp.c_fc.weight"
FAULTS = {
    "truncated": (cut, "weights"),
    "garbage": (lambda f: (f / WEIGHTS).write_bytes(b"garbage!" * 99), "weights"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "weights"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "weights"),
    "a weight missing": (lambda f: change(f, lambda w: w.pop(LAYER)), LAYER),
    "a weight misshapen": (lambda f: change(f, lambda w: w.update({LAYER: torch.ones(3)})), LAYER),
    "no config": (lambda f: (f / "config.json").unlink(), "weights"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config"),
    "no tokenizer": (drop_tokenizer, "tokenizer"),
    "no tokenizer.json": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer"),
    "nothing at all": (lambda f: [p.unlink() for p in f.iterdir()], "tokenizer"),
}


# The folder's name holds words that an error of the hub would also hold.
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_folder_gives_one_line(tiny_folder, fault):
    folder = tiny_folder("connect offline")
    damage, blamed = FAULTS[fault]
    damage(folder)
    with pytest.raises(ModelLoadError) as raised:
        load_lm(str(folder), "cpu")
    said = str(raised.value)
    assert "\n" not in said
    assert str(folder) in said
    assert blamed in said
    assert "bookworm" in said
    assert "hub" not in said
    assert raised.value.__suppress_context__


def test_weights_that_are_not_numbers_stop_at_the_first_pass(tiny_folder, refuses):
    folder = tiny_folder()
    change(folder, lambda weights: weights[LAYER].fill_(torch.nan))
    lm = load_lm(str(folder), "cpu")
    for decoder in (run_greedy, medusa_tiny):
        with refuses("logits"):
            decoder(lm, "abc")


def check_how_to_go_on(message):
    assert "\n" not in message
    assert "distilgpt2" in message
    assert "the hub cannot be reached" in message
    assert "MODEL_ID='bookworm'" in message
    assert "--model bookworm" in message


def test_a_hub_switched_off_gives_one_line_and_no_request(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(stage, "get_session", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(ModelLoadError) as raised:
        load_lm("distilgpt2", "cpu")
    check_how_to_go_on(str(raised.value))


class DeadSession:
    asked = 0

    def head(self, *_, timeout, **__):
        self.asked += 1
        assert timeout < 10
        raise OSError("Name or service not known")


def test_an_unreachable_hub_gives_one_line_after_one_request(monkeypatch, tmp_path):
    session = DeadSession()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(stage, "get_session", lambda: session)
    with pytest.raises(ModelLoadError) as raised:
        load_lm("distilgpt2", "cpu")
    check_how_to_go_on(str(raised.value))
    assert session.asked == 1


def test_a_hub_that_answers_is_reachable(monkeypatch):
    answering = type("Session", (), {"head": lambda *_, **__: None})()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(stage, "get_session", lambda: answering)
    assert stage.hub_reachable()
    assert not stage.cache_only("distilgpt2")


def test_a_folder_never_asks_the_hub(monkeypatch, tiny_folder):
    monkeypatch.setattr(stage, "get_session", lambda: pytest.fail("the hub was asked"))
    assert load_lm(str(tiny_folder()), "cpu").vocab_size == len(LETTERS) + 2
    assert load_lm("bookworm", "cpu").model_id == "bookworm"


@pytest.mark.parametrize("value", [7, b"x", ["bookworm"], "", "  ", "lone \ud800"])
def test_a_bad_model_id_is_refused(refuses, value):
    for load in (load_lm, load_tokenizer, lambda v: load_model(v, "cpu")):
        with refuses("model_id", value):
            load(value)


@pytest.mark.parametrize("value", ["no\nsuch", "a b", "/nowhere/at/all", "null \0", "x" * 5000])
def test_an_impossible_model_id_gives_one_line(monkeypatch, value):
    monkeypatch.setattr(stage, "hub_reachable", lambda: False)
    with pytest.raises(ModelLoadError, match=r"^tokenizer of model_id .* [^\n]*$") as raised:
        load_lm(value, "cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", bad.NO_DEVICE)
def test_a_bad_device_is_refused_before_anything_loads(monkeypatch, refuses, value):
    monkeypatch.setattr(stage, "load_tokenizer", lambda _: pytest.fail("something was loaded"))
    for load in (load_lm, load_model):
        with refuses("device", value):
            load("bookworm", value)


@pytest.mark.hub
def test_distilgpt2_loads_and_decodes_alike():
    if not stage.hub_reachable():
        pytest.skip("no hub can be reached from here")
    lm = load_lm("distilgpt2", "cpu")
    assert lm.eos_id == 50256
    assert lm.context_length == 1024
    greedy = run_greedy(lm, "In a distant future, ", 8)
    assert greedy.text.startswith("In a distant future,  the world is a place")
    assert medusa_tiny(lm, "In a distant future, ", 8).new_ids == greedy.new_ids
