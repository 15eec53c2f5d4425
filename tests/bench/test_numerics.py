"""Kinds of pass differ by less than half of the bound; flips and near ties are counted."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from medusa_lib import last_logits
from medusa_lib.bench.numerics import (
    README_MARKS,
    WIDE,
    Difference,
    in_dtype,
    logits_in_steps,
    main,
    measure,
    own_texts,
)
from medusa_lib.beyond.near_ties import TIE_BOUNDS


@pytest.fixture(scope="module")
def texts(lm):
    return own_texts(lm, 600)


def test_texts_are_the_models_own_and_enough(lm, texts) -> None:
    assert sum(map(len, texts)) >= 600
    assert all(len(ids) <= lm.context_length for ids in texts)
    assert own_texts(lm, 600) == texts


def test_the_bound_is_more_than_twice_what_is_found_here(lm, texts) -> None:
    for row in measure(lm, torch.float32, texts):
        assert 0 < row.largest < TIE_BOUNDS[torch.float32] / 2
        assert row.positions > 0


def test_steps_of_any_size_say_the_same(lm, texts) -> None:
    ids = texts[0][:29]
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


def test_half_the_bits_differ_far_more(lm, texts) -> None:
    short = [ids[:40] for ids in texts[:1]]
    half, single = (measure(lm, d, short)[0] for d in (torch.bfloat16, torch.float32))
    assert half.largest > 100 * single.largest
    assert next(in_dtype(lm, torch.bfloat16).model.parameters()).dtype == torch.bfloat16
    assert next(lm.model.parameters()).dtype == torch.float32


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
    assert all(own_texts(last, 60))
