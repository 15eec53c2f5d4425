"""Rows in a folder of Parquet files, written as they come; what is there is done."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import types
import typing
import uuid
from collections.abc import Sequence
from pathlib import Path

from medusa_lib.sweep.extra import needed

PART, UNFINISHED = "part-*.parquet", "*.unfinished"
MOST_ROWS, MOST_SECONDS = 2000, 10.0  # that wait before a file is written
MOST_PARTS = 200  # files; more are made one when the folder is opened


def schema_of(kind: type) -> object:
    """The Arrow schema of a dataclass of str, int, float, and these or None."""
    arrow = needed("pyarrow")
    types_of = {
        str: arrow.string(),
        int: arrow.int64(),
        float: arrow.float64(),
        bool: arrow.bool_(),
    }
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return arrow.schema([(name, types_of[plain(hints[name])]) for name in names])


def plain(hint: object) -> type:
    """The type itself; of `X | None`, X."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


class ParquetKeeper:
    """A keeper of rows, dataclasses of one kind that have a `key`, in a folder.

    What is kept is written every few seconds and at the end of a `with` block, each file whole or
    not at all, so that of a killed run all but the last seconds stay. Raises ValueError for a
    folder with rows of another kind or a damaged file, before anything is written.
    """

    def __init__(self, folder: Path, kind: type) -> None:
        self.folder, self.kind, self.schema = folder, kind, schema_of(kind)
        self.waiting: list[object] = []
        self.written = -math.inf  # the first row is written at once
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out must be a folder, got the file {folder.name}")
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(UNFINISHED):
            path.unlink()
        parts = sorted(folder.glob(PART))
        self.known = {key for path in parts for key in self.keys_in(path)}
        if len(parts) > MOST_PARTS:
            self.join(parts)

    def keys_in(self, path: Path) -> list[str]:
        """The keys of one file. Raises ValueError if it is damaged or of another kind."""
        arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        try:
            if not parquet.read_schema(path).equals(self.schema):
                raise ValueError(f"--out must be a folder of such rows, got others in {path.name}")
            return parquet.read_table(path, columns=["key"])["key"].to_pylist()
        except arrow.ArrowException as error:
            said = str(error).splitlines()[0]
            raise ValueError(f"--out must have whole files, got {path.name}: {said}") from None

    def __enter__(self) -> ParquetKeeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def has(self, key: str) -> bool:
        """True if the row of that key is there."""
        return key in self.known

    def keep(self, key: str, made: object) -> None:
        """Keep a row."""
        self.waiting.append(made)
        self.known.add(key)
        late = time.monotonic() - self.written > MOST_SECONDS
        if late or len(self.waiting) >= MOST_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            rows = [vars(row) for row in self.waiting]
            self.write(needed("pyarrow").Table.from_pylist(rows, schema=self.schema))
        self.waiting, self.written = [], time.monotonic()

    def write(self, table: object) -> None:
        """A new file, which is there only when it is whole."""
        unfinished = self.folder / f"{uuid.uuid4().hex}.unfinished"
        needed("pyarrow.parquet").write_table(table, unfinished)
        os.replace(unfinished, self.folder / f"part-{unfinished.stem}.parquet")

    def join(self, parts: Sequence[Path]) -> None:
        """Make one file of many. Stopped halfway it leaves rows twice, which readers leave out."""
        arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        self.write(arrow.concat_tables(parquet.read_table(path) for path in parts))
        for path in parts:
            path.unlink()

    def rows(self) -> dict[str, object]:
        """All rows that were kept, by key."""
        self.flush()
        return {row["key"]: self.kind(**row) for row in read_rows(self.folder).to_pylist()}


def read_rows(folder: Path) -> object:
    """All rows of a folder as an Arrow table, in the order of their keys, each once.

    Raises ValueError if there is none.
    """
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    parts = sorted(Path(folder).glob(PART))
    if not parts:
        raise ValueError(f"folder must be one of a sweep, got no {PART} in {str(folder)!r}")
    whole = arrow.concat_tables(parquet.read_table(path) for path in parts).sort_by("key")
    keys = whole["key"].to_pylist()
    return whole.filter(arrow.array([not i or keys[i - 1] != key for i, key in enumerate(keys)]))
