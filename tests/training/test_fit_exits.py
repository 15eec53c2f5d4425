"""Exits are fitted on a model's own texts, written in half precision, and known by its weights."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from medusa_lib.beyond.early_exit import EXITS_FILE, fit_exit, kept_layers
from medusa_lib.training.fit_exits import own_ids, save_exits


def test_exits_are_written_for_all_but_the_last_layer(tiny_gpt2, tmp_path) -> None:
    ids = own_ids(tiny_gpt2, texts=4, length=12)
    assert ids.shape == (8, 20)
    save_exits(tiny_gpt2, ids, tmp_path)
    tensors = load_file(tmp_path / EXITS_FILE)
    assert set(tensors) == {"1", "probe"}
    wanted = fit_exit(tiny_gpt2, kept_layers(tiny_gpt2, [0]), ids)
    assert torch.equal(tensors["1"], wanted.half())
    assert "160 tokens" in (tmp_path / "README.md").read_text(encoding="utf-8")
