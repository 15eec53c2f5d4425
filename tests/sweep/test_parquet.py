"""Rows in files: whole or not there, each once, and what is there is done."""

from __future__ import annotations

import dataclasses

import pytest
from sweep_rows import SWEEP

from medusa_lib.sweep import parquet
from medusa_lib.sweep.parquet import PART, ParquetKeeper, read_rows
from medusa_lib.sweep.runs import SweepRow

pytest.importorskip("pyarrow", reason="needs pip install -e '.[sweep]'")


def named(key: str) -> SweepRow:
    return dataclasses.replace(SWEEP[0], key=key, differs_at=3)


def keys(folder) -> list[str]:
    return read_rows(folder)["key"].to_pylist()


def test_rows_come_back_as_they_were_and_in_order(tmp_path) -> None:
    with ParquetKeeper(tmp_path, SweepRow) as keeper:
        for key in "cab":
            keeper.keep(key, named(key))
        assert keeper.has("a")
        assert keeper.rows() == {key: named(key) for key in "abc"}
    assert keys(tmp_path) == ["a", "b", "c"]
    again = ParquetKeeper(tmp_path, SweepRow)
    assert [again.has(key) for key in "abcd"] == [True, True, True, False]


def test_the_first_row_is_written_at_once_and_the_others_when_they_are_many(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_ROWS", 3)
    keeper = ParquetKeeper(tmp_path, SweepRow)
    sizes = []
    for key in "abcde":
        keeper.keep(key, named(key))
        sizes.append(len(keys(tmp_path)))
    assert sizes == [1, 1, 1, 4, 4]
    keeper.flush()
    assert keys(tmp_path) == list("abcde")


def test_what_is_written_halfway_is_not_there(tmp_path) -> None:
    (tmp_path / "x.unfinished").write_bytes(b"half")
    with ParquetKeeper(tmp_path, SweepRow) as keeper:
        keeper.keep("a", named("a"))
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


def test_many_files_become_one_and_a_row_that_is_there_twice_counts_once(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_PARTS", 2)
    for key in "aabb":
        with ParquetKeeper(tmp_path / "new", SweepRow) as keeper:
            keeper.keep(key, named(key))
    assert keys(tmp_path / "new") == ["a", "b"]
    assert len(list((tmp_path / "new").glob(PART))) <= 2


def test_other_rows_a_damaged_file_and_a_file_for_a_folder_are_refused(tmp_path) -> None:
    @dataclasses.dataclass
    class Other:
        key: str
        size: int

    with ParquetKeeper(tmp_path, Other) as keeper:
        keeper.keep("a", Other("a", 3))
    with pytest.raises(ValueError, match="--out must be a folder of such rows, got others in part"):
        ParquetKeeper(tmp_path, SweepRow)
    (part,) = tmp_path.glob(PART)
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ValueError, match="--out must have whole files, got part"):
        ParquetKeeper(tmp_path, Other)
    with pytest.raises(ValueError, match="--out must be a folder, got the file part"):
        ParquetKeeper(part, Other)
    with pytest.raises(ValueError, match="folder must be one of a sweep, got no part"):
        read_rows(tmp_path / "nowhere")
