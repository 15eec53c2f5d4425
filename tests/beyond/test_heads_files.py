"""Heads in a folder come back as they were, and fit the model that they were trained for."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from heads import NODES, random_heads

import medusa_lib
from medusa_lib import load_lm, run_greedy, speculate, use_heads
from medusa_lib.base.config import shipped_folder
from medusa_lib.beyond.heads_files import (
    heads_fit,
    heads_folder,
    load_heads,
    save_heads,
    shipped_heads,
)
from medusa_lib.beyond.medusa_heads import KINDS, HeadsError


@pytest.mark.parametrize("kind", KINDS)
def test_saved_heads_come_back(tiny_llama, kind, tmp_path) -> None:
    heads = random_heads(tiny_llama, kind)
    save_heads(heads, tiny_llama, NODES, tmp_path / "heads")
    again, nodes = load_heads(tiny_llama, tmp_path / "heads")
    assert nodes == NODES
    assert again.shape == heads.shape
    for name, tensor in heads.state_dict().items():
        assert torch.allclose(tensor.float(), again.state_dict()[name].float(), atol=1e-3), name
    assert not (set(again.state_dict()) - set(heads.state_dict()))


def test_heads_of_another_model_are_refused(tiny_gpt2, tiny_llama, tmp_path, refuses) -> None:
    folder = tmp_path / "gpt2-heads"
    save_heads(random_heads(tiny_gpt2), tiny_gpt2, NODES, folder)
    with refuses("heads", lm=tiny_llama):
        load_heads(tiny_llama, folder)
    with refuses("lm", lm=tiny_llama):
        speculate(tiny_llama, "abc", "heads_tree")
    with refuses("heads"):
        load_heads(tiny_llama, tmp_path / "nowhere")
    (folder / "heads.json").write_text("{}")
    with refuses("heads"):
        load_heads(tiny_gpt2, folder)
    assert not heads_fit(tiny_llama)


def test_heads_of_a_readers_own_are_used_by_their_names(tiny_llama, tmp_path, monkeypatch) -> None:
    save_heads(random_heads(tiny_llama), tiny_llama, NODES, tmp_path / "mine")
    by_hand, by_name = copy.copy(tiny_llama), copy.copy(tiny_llama)
    assert not heads_fit(by_hand)
    use_heads(by_hand, tmp_path / "mine")
    monkeypatch.setenv("MEDUSA_HEADS", str(tmp_path / "mine"))
    for lm in (by_hand, by_name):
        assert heads_fit(lm)
        assert heads_folder(lm) == tmp_path / "mine"
        greedy = run_greedy(lm, "abc", 12).new_ids
        for name in ("heads_chain", "heads_tree", "heads_ngram"):
            assert speculate(lm, "abc", name, 12).new_ids == greedy


def test_the_shipped_model_keeps_its_heads_beside_a_readers_own(lm, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MEDUSA_MODEL", str(tmp_path / "another model"))
    monkeypatch.setenv("MEDUSA_HEADS", str(tmp_path / "its heads"))
    assert heads_folder(lm) == shipped_folder("bookworm_heads")
    monkeypatch.delenv("MEDUSA_MODEL")  # then they are new ones for the shipped model
    assert heads_folder(lm) == tmp_path / "its heads"


def test_who_has_no_heads_is_told_how_to_come_by_them(tiny_llama, tmp_path, refuses) -> None:
    with pytest.raises(HeadsError, match=r"train_heads --model .* use_heads.* MEDUSA_HEADS=FOLDER"):
        speculate(tiny_llama, "abc", "heads_tree")
    with refuses("heads"):
        use_heads(tiny_llama, tmp_path / "nowhere")
    assert not heads_fit(tiny_llama)


def test_heads_of_the_same_sizes_but_other_weights_are_refused(lm, tmp_path) -> None:
    other = load_lm(device="cpu")
    with torch.no_grad():
        other.model.get_output_embeddings().weight.mul_(1.2)
    with pytest.raises(HeadsError, match="must be trained for bookworm"):
        load_heads(other)
    half = load_lm(device="cpu")
    half.model.to(torch.bfloat16)
    assert load_heads(half)[0].shape == load_heads(lm)[0].shape


def test_a_model_of_another_family_is_refused(lm, refuses, monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.beyond.medusa_heads.FAMILIES", ("llama",))
    with refuses("lm"):
        load_heads(lm)


def test_the_shipped_heads_are_small_and_their_card_is_theirs(lm) -> None:
    folder = Path(medusa_lib.__file__).parent / "pretrained" / "bookworm_heads"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    figures = json.loads((folder / "figures.json").read_text())
    card = (folder / "README.md").read_text()
    for row in figures["top_accuracy"]["own text"]:
        assert f"{row[0]:.3f}" in card
    heads, nodes = shipped_heads(lm)
    assert figures["parameters"] == sum(p.numel() for p in heads.parameters())
    assert len(nodes) == figures["best_budget"]


def test_a_folder_whose_parts_do_not_fit_is_refused(tiny_gpt2, tmp_path, refuses) -> None:
    save_heads(random_heads(tiny_gpt2), tiny_gpt2, [(0, 0)], tmp_path)
    with refuses("heads"):
        load_heads(tiny_gpt2, tmp_path)
