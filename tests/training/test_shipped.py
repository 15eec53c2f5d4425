"""The model that ships with the course, as it lies on disk."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from tiny_models import same_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from medusa_lib import load_lm, run_greedy
from medusa_lib.base.config import shipped_folder
from medusa_lib.beyond.drafters import draft_lm
from medusa_lib.training.books import HELD_OUT
from medusa_lib.training.card import PROMPTS, quoted

FOLDER = shipped_folder("bookworm")
DRAFT = FOLDER.with_name("bookmite")


@pytest.fixture(scope="module")
def figures():
    return json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def card():
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_folder_is_small_and_holds_no_pickle_and_no_code():
    files = sorted(path.name for path in FOLDER.rglob("*"))
    assert set(files) == {
        "README.md",
        "config.json",
        "figures.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20e6
    assert "auto_map" not in (FOLDER / "config.json").read_text()


def test_weights_are_half_precision_on_disk_and_single_once_loaded(lm):
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        kinds = {weights.get_tensor(name).dtype for name in weights.keys()}  # noqa: SIM118
    assert kinds == {torch.float16}
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}


def test_sizes_are_those_the_course_was_planned_for(lm):
    assert 4e6 <= sum(p.numel() for p in lm.model.parameters()) <= 9e6
    assert lm.model.config.model_type == "gpt2"
    assert lm.context_length == lm.model.config.n_positions == 512
    assert 4000 <= len(lm.tokenizer) <= 4200
    assert len(lm.tokenizer) == lm.model.config.vocab_size


@settings(max_examples=50)
@given(text=st.text(max_size=60))
def test_any_text_survives_the_tokenizer(text, lm):
    ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_it_loads_through_the_ordinary_classes(lm):
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    ids = tokenizer("Once upon a time", return_tensors="pt")["input_ids"]
    assert same_weights(model, lm.model)
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, lm.model(ids).logits, atol=1e-4)
    assert tokenizer.eos_token_id == model.config.eos_token_id == lm.eos_id


def test_greedy_is_transformers_greedy(lm):
    prompt = "Once upon a time"
    ids = lm.tokenizer(prompt, return_tensors="pt")["input_ids"]
    ours = run_greedy(lm, prompt, 20).new_ids
    theirs = lm.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=lm.eos_id,
    )
    assert theirs[0, ids.shape[1] :].tolist()[: len(ours)] == ours


def test_a_prompt_that_ends_in_a_space_is_answered_in_words(lm):
    prompt = "In a distant future, "
    new = run_greedy(lm, prompt, 30)
    text = lm.tokenizer.decode(new.new_ids)
    assert len(set(re.findall(r"[A-Za-z]{2,}", text))) >= 3, text
    assert not re.search(r"(.)\1{3}", text), text
    assert not re.search(r"\d\d", text), text
    assert re.fullmatch(r"""[A-Za-z\s.,;:!?'"()-]+""", text), text


def test_the_card_names_every_book_and_the_held_out_ones(card, figures):
    assert set(figures["held_out"]) == {str(number) for number in HELD_OUT}
    assert not set(figures["training_books"]) & set(HELD_OUT)
    assert len(figures["books"]) == len(figures["training_books"]) + len(HELD_OUT)
    for number, title in figures["books"].items():
        (row,) = re.findall(rf"^\| \[{number}\]\(.*$", card, re.M)
        assert title in row
        assert ("held out" in row) == (int(number) in HELD_OUT)


def test_the_card_prints_the_scores_of_figures_json(card, figures):
    for score in [*figures["held_out"].values(), figures["held_out_together"]]:
        line = f"| {score['nats_per_token']:.3f} | {score['bits_per_byte']:.3f} |"
        assert line in card
    assert figures["held_out_together"]["bits_per_byte"] < 1.8
    assert f"{figures['parameters'] / 1e6:.1f} million parameters" in card


def test_figures_are_of_these_weights(figures, lm):
    assert figures["parameters"] == sum(p.numel() for p in lm.model.parameters())
    assert figures["recipe"]["context"] == lm.context_length
    assert figures["steps"] == figures["history"][-1]["step"]


def test_the_card_has_a_head_for_hubs_and_all_its_parts(card):
    head, _, body = card.removeprefix("---\n").partition("\n---\n")
    for field in ("license: mit", "language: en", "library_name: transformers", "tags:"):
        assert field in head.splitlines()
    for part in ("Data", "Recipe", "Figures", "Sample texts", "Limits", "Licence"):
        assert f"\n## {part}\n" in body


def test_the_sample_texts_are_what_the_model_writes(card, lm):
    # The first words only: further on, two machines may part at a near tie.
    for prompt in PROMPTS:
        first = quoted(run_greedy(lm, prompt, 6).text).splitlines()[0]
        assert first.rstrip() in card


def test_the_model_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_lm(device="cpu").context_length == 512


def test_the_draft_model_is_much_smaller_and_has_the_same_tokenizer(lm):
    assert sum(path.stat().st_size for path in DRAFT.iterdir()) < 2e6
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (DRAFT / name).read_bytes() == (FOLDER / name).read_bytes()
    assert {path.name for path in DRAFT.iterdir()} == {path.name for path in FOLDER.iterdir()}
    assert load_lm("bookmite", "cpu").context_length == lm.context_length


def test_the_draft_models_card_is_its_own(lm):
    card = (DRAFT / "README.md").read_text(encoding="utf-8")
    figures = json.loads((DRAFT / "figures.json").read_text(encoding="utf-8"))
    assert "# Bookmite" in card
    assert "draft model" in card
    assert figures["parameters"] == sum(p.numel() for p in draft_lm(lm).model.parameters())
    assert f"{figures['held_out_together']['bits_per_byte']:.3f}" in card
    assert set(figures["training_books"]).isdisjoint(HELD_OUT)
