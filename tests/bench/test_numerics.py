"""Kinds of pass differ by less than half of the bound; flips and near ties are counted."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest
import torch

from medusa_lib import last_logits
from medusa_lib.bench.numerics import (
    README_MARKS,
    WIDE,
    Difference,
    Passes,
    TextAsked,
    main,
    measure,
    own_text,
    text_row,
)
from medusa_lib.beyond.near_ties import TIE_BOUNDS
from medusa_lib.measure.numbers import in_dtype, logits_in_steps
from medusa_lib.sweep.tasks import attempt


def test_texts_are_the_models_own(lm) -> None:
    ids = own_text(lm, 3)
    assert len(ids) <= lm.context_length
    assert own_text(lm, 3) == ids != own_text(lm, 4)


def test_the_bound_is_more_than_twice_what_is_found_here(lm) -> None:
    for row in measure(Passes(lm, ["float32"]), 600):
        assert 0 < row.largest < TIE_BOUNDS[torch.float32] / 2
        assert row.positions > 0


def test_steps_of_any_size_say_the_same(lm) -> None:
    ids = own_text(lm, 0)[:29]
    single = logits_in_steps(lm, ids, 1)
    assert single.shape == (29, lm.vocab_size)
    assert torch.allclose(single, logits_in_steps(lm, ids, WIDE), atol=2e-4)
    assert torch.allclose(single[-1], last_logits(lm, torch.tensor([ids])), atol=2e-4)


def test_flips_and_near_ties_are_counted() -> None:
    row = Difference("float32", "")
    a = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.6, 0.0], [3.0, 2.95, 0.0]])
    b = torch.tensor([[1.0, 0.0, 0.0], [0.7, 0.6, 0.0], [3.0, 2.95, 0.0]])
    row.add(a, b, bound=0.2)
    assert (row.positions, row.flips, row.close) == (3, 1, 2)
    assert row.largest == pytest.approx(0.2)


def test_half_the_bits_differ_far_more(tiny_gpt2) -> None:
    single, _, half, _ = measure(Passes(tiny_gpt2, ["float32", "bfloat16"]), 60)
    assert (single.dtype, half.dtype) == ("float32", "bfloat16")
    assert half.largest > 100 * single.largest
    assert next(in_dtype(tiny_gpt2, torch.bfloat16).model.parameters()).dtype == torch.bfloat16
    assert next(tiny_gpt2.model.parameters()).dtype == torch.float32


def test_as_many_texts_as_needed_are_measured_and_none_twice(tiny_gpt2) -> None:
    """However the work is shared: the same texts as one after the other."""
    lengths, texts = [], 0
    while sum(lengths) < 130:
        lengths.append(len(own_text(tiny_gpt2, texts)))
        texts += 1
    done = []

    def backwards(do, tasks):
        tasks = list(tasks)
        done.extend(task.key for task in tasks)
        yield from reversed([attempt(do, task) for task in tasks])

    passes = Passes(tiny_gpt2, ["float32"], backwards)
    wide, own = measure(passes, 130)
    assert (wide.positions, len(done)) == (sum(lengths), texts)
    assert measure(Passes(tiny_gpt2, ["float32"]), 130) == [wide, own]
    assert measure(passes, 130) == [wide, own]
    assert len(done) == texts, "what is done was done again"


def test_what_is_asked_and_found_can_travel(tiny_gpt2) -> None:
    asked = Passes(tiny_gpt2, ["float32"]).asked("float32", 3)
    assert pickle.loads(pickle.dumps(asked)) == asked
    row = text_row(lambda name: tiny_gpt2, asked)
    assert pickle.loads(pickle.dumps(row)) == row
    assert row.key == asked.key
    with pytest.raises(ValueError, match="model must be the same everywhere"):
        text_row(lambda name: tiny_gpt2, TextAsked("m", "another", "float32", 3))


def test_rows_are_kept_and_the_command_goes_on(tmp_path, capsys, monkeypatch) -> None:
    pytest.importorskip("pyarrow", reason="needs pip install -e '.[sweep]'")
    words = ["--model", "random-gpt2-1", "--dtypes", "float32", "--out", str(tmp_path / "rows")]
    main([*words, "--positions", "300", "--json", str(tmp_path / "one.json")])
    # Nothing is left to do: a text that is measured again ends in an error.
    monkeypatch.setattr("medusa_lib.bench.numerics.text_row", lambda *_: 1 // 0)
    main([*words, "--positions", "300", "--json", str(tmp_path / "two.json")])
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()
    assert "float32" in capsys.readouterr().out


def test_the_command_writes_what_it_is_asked_for(tmp_path, capsys) -> None:
    readme, found = tmp_path / "README.md", tmp_path / "out.json"
    readme.write_text(f"a\n{README_MARKS[0]}\n{README_MARKS[1]}\nb\n", encoding="utf-8")
    words = ["--positions", "20", "--dtypes", "float32", "--json", str(found)]
    main([*words, "--readme", str(readme)])
    assert "near ties" in capsys.readouterr().out
    assert [row["dtype"] for row in json.loads(found.read_text())] == ["float32"] * 2
    assert "| float32 | one token, 8 tokens |" in readme.read_text(encoding="utf-8")


def test_bad_words_end_it_with_one_line() -> None:
    with pytest.raises(SystemExit, match="^error: positions must be an int >= 1, got 0"):
        main(["--positions", "0"])


def test_a_model_whose_eos_is_its_last_token_writes_too(tiny_gpt2) -> None:
    last = dataclasses.replace(tiny_gpt2, eos_id=tiny_gpt2.vocab_size - 1)
    assert all(own_text(last, seed) for seed in range(12))
