"""What came out: a folder as a table, figures by drafter, what differs from greedy's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medusa_lib.base.tables import md_table
from medusa_lib.sweep.extra import needed
from medusa_lib.sweep.parquet import read_rows
from medusa_lib.sweep.runs import DIFFERENCE, FIGURES, TIMING

README_MARKS = ("<!-- sweep: written by the command, not by hand -->", "<!-- /sweep -->")
SEED = re.compile(r"(random-\w+)-\d+")  # random models of one family stand together


def load(folder: Path | str, timing: bool = True) -> object:
    """The rows of a sweep's folder as a pandas DataFrame, in the order of their keys.

    One row a run, the fields of SweepRow as columns, and the figures α, τ, passes and seconds per
    token beside them. timing False: without the columns that differ from machine to machine, and
    then equal, bit for bit, wherever and in whatever order the runs were done. Raises ValueError
    for a folder without rows, MissingExtraError.
    """
    needed("pandas")
    frame = read_rows(Path(folder)).to_pandas()
    for figure, (above, below) in FIGURES.items():
        frame[figure] = frame[list(above)].sum(axis=1) / frame[list(below)].sum(axis=1)
    late = [] if timing else [*TIMING, "seconds_per_token"]
    return frame.drop(columns=late)


HEAD = ("model", "drafter", "temperature", "runs", "tokens", "compared", "differ", "τ", "α")


def summary(frame: object) -> list[tuple[str, ...]]:
    """Rows of HEAD: what each drafter wrote for each model at each temperature.

    compared: tokens that were compared with greedy's. differ: runs in which one is another.
    """
    frame = frame.assign(family=[SEED.sub(r"\1", name) for name in frame["model"]])
    found = []
    for at, some in frame.groupby(["family", "drafter", "temperature"], sort=True):
        sums = some[["written", "compared", "loops", "accepted", "evaluated"]].sum()
        alpha = f"{sums.accepted / sums.evaluated:.2f}" if sums.evaluated else "–"
        differ = int((some["kind"] == DIFFERENCE).sum())
        counts = (len(some), sums.written, sums.compared, differ)
        tau = f"{sums.written / sums.loops:.2f}" if sums.loops else "–"
        family, drafter, temperature = at
        words = (f"{count:,}" for count in counts)
        found.append((family, drafter, f"{temperature:g}", *words, tau, alpha))
    return found


def differences(frame: object) -> list[str]:
    """A line for each run that had to be greedy's and is not."""
    other = frame[frame["kind"] == DIFFERENCE]
    columns = ("key", "model", "drafter", "differs_at", "prompt")
    rows = zip(*(other[name] for name in columns), strict=True)
    return [
        f"{key}: {model}, {drafter}, differs from greedy at new token {int(at)}: {prompt!r}"
        for key, model, drafter, at, prompt in rows
    ]


def totals(frame: object) -> str:
    """All runs in one line."""
    compared, differ = int(frame["compared"].sum()), int((frame["kind"] == DIFFERENCE).sum())
    places = " and ".join(sorted(set(frame["processor"])))
    return (
        f"{len(frame):,} runs wrote {int(frame['written'].sum()):,} tokens. {compared:,} tokens "
        f"were compared with greedy's; {differ or 'no'} run{'s' * (differ != 1)} "
        f"differ{'s' * (differ == 1)}. Computed on {places}."
    )


def as_markdown_report(frame: object) -> str:
    """The totals and the table, for a README."""
    return f"{totals(frame)}\n\n{md_table(HEAD, summary(frame), left=3)}\n"


def loud(lines: Sequence[str], most: int = 20) -> Iterable[str]:
    """At most so many lines, and how many more there are."""
    yield from lines[:most]
    if len(lines) > most:
        yield f"… and {len(lines) - most} more"
