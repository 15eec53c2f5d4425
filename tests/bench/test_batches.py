"""The command that writes the table of passes over batches."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from medusa_lib.bench import batches
from medusa_lib.measure.batches_table import SHIPPED, measured_batches


@pytest.fixture
def small(monkeypatch, lm):
    """A small grid, one loading of the model, and the threads as they were."""
    before = torch.get_num_threads()
    monkeypatch.setattr(batches, "BATCHES", (1, 2, 4))
    monkeypatch.setattr(batches, "POSITIONS", (1, 4))
    monkeypatch.setattr(batches, "load_lm", lambda device: lm)
    yield
    torch.set_num_threads(before)


def test_passes_and_loops_are_put_into_one_entry(small, tmp_path, capsys) -> None:
    out = tmp_path / "table.json"
    common = ["--repeats", "1", "--new-tokens", "6", "--out", str(out)]
    batches.main(["--part", "passes", *common])
    batches.main(["--part", "loops", "--most", "2", *common])
    batches.main(["--part", "loops", "--least", "4", *common])
    assert capsys.readouterr().out.count("measured\n") == 3
    ((key, one),) = measured_batches(out).items()
    assert key == (SHIPPED, 1)
    assert set(one.passes) == {(b, n) for b in (1, 2, 4) for n in (1, 4)}
    assert list(one.loops) == [1, 2, 4]
    assert one.processor


def test_what_is_measured_anew_replaces_the_old() -> None:
    old = {"a": 1, "passes": [{"batch": 1, "positions": 2, "ms": 1}, {"batch": 2, "positions": 2}]}
    new = {"a": 2, "passes": [{"batch": 1, "positions": 2, "ms": 7}]}
    found = batches.merged(old, new, "passes")
    assert found["a"] == 2
    assert found["passes"] == [{"batch": 1, "positions": 2, "ms": 7}, {"batch": 2, "positions": 2}]
    assert json.dumps(batches.merged({}, new, "passes")) == json.dumps(new)


def test_texts_that_end_early_or_differ_are_errors(lm, monkeypatch) -> None:
    class Short:
        new_ids = [[1]]

    monkeypatch.setattr(batches, "decode_batch", lambda *_: Short)
    with pytest.raises(RuntimeError, match="other tokens"):
        batches.loop_row(lm, [("The fox", [5, 6, 7])], 3)
    Short.new_ids = [[1]] * 9
    with pytest.raises(RuntimeError, match="only 0 of"):
        batches.loops_rows(lm, lm, [1], 3)


def test_a_bad_count_is_refused(small) -> None:
    for name in ("threads", "repeats", "new-tokens", "least", "most"):
        with pytest.raises(ValueError, match=f"--{name} must be an int >= 1"):
            batches.main(["--part", "passes", f"--{name}", "0"])
    assert isinstance(batches.parse(["--part", "loops"]), argparse.Namespace)
