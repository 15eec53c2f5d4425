"""The wait for the first text of a fresh process."""

from __future__ import annotations

import pytest
import torch

from medusa_lib import load_lm, use_heads
from medusa_lib.base.config import shipped_folder
from medusa_lib.bench import first
from medusa_lib.bench.first import first_speculate, in_a_folder, main, seconds_of
from medusa_lib.beyond.heads_files import HEADS_VARIABLE, save_heads, shipped_heads


def test_the_first_process_does_not_count(lm, monkeypatch) -> None:
    times, asked = iter([99.0, 1.0, 5.0, 2.0]), []

    def say(*words: str, **variables: str) -> float:
        asked.append((*words, *variables.values()))
        return next(times)

    monkeypatch.setattr(first, "seconds_of", say)
    assert first_speculate(lm, 3) == 2.0
    heads = str(shipped_folder("bookworm_heads").absolute())
    assert set(asked) == {("bookworm", "cpu", asked[0][2], "heads_tree", heads)}


def test_the_process_takes_the_heads_that_were_given(lm, tmp_path, monkeypatch) -> None:
    heads, nodes = shipped_heads(lm)
    save_heads(heads, lm, nodes, tmp_path / "heads")
    other = load_lm(device="cpu")
    use_heads(other, tmp_path / "heads")
    asked = []
    monkeypatch.setattr(first, "seconds_of", lambda *_, **given: asked.append(given) or 1.0)
    first_speculate(other, 1)
    assert asked[0] == {HEADS_VARIABLE: str(tmp_path / "heads")}


def test_a_model_that_no_other_process_finds_has_no_figure(tiny_gpt2, monkeypatch) -> None:
    monkeypatch.setattr(first, "seconds_of", lambda *_: pytest.fail("a process was started"))
    assert first_speculate(tiny_gpt2, 1) is None
    assert in_a_folder("bookworm")


def test_the_process_says_its_seconds(tiny_folder, capsys) -> None:
    main([str(tiny_folder()), "cpu", str(torch.get_num_threads()), "ngram"])
    assert float(capsys.readouterr().out) > 0


def test_a_process_that_fails_is_told_of(tmp_path) -> None:
    with pytest.raises(ChildProcessError, match="first text of a fresh process failed: .*model"):
        seconds_of(str(tmp_path), "cpu", "1", "ngram")
