"""How far passes of different kinds differ, and how often a choice flips.

python -m medusa_lib.bench.numerics

The same tokens go through the model one at a time, eight at a time, and as a whole. On paper
the logits are equal; in floating point they differ in the last bits. TIE_BOUNDS of one_pass.py
must be more than twice the largest difference.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from medusa_lib.base.checks import check_int
from medusa_lib.base.config import default_model_id
from medusa_lib.base.tables import fill_marks, md_table
from medusa_lib.beyond.near_ties import TIE_BOUNDS
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.numbers import in_dtype, logits_in_steps
from medusa_lib.steps.model import LM, ModelLoadError
from medusa_lib.steps.utilities import last_logits
from medusa_lib.sweep.cluster import SWEEP_ERRORS, add_cluster_options, any_runner
from medusa_lib.sweep.extra import EXTRA
from medusa_lib.sweep.models import identity_of, named_lm, refuse_another
from medusa_lib.sweep.parquet import ParquetKeeper
from medusa_lib.sweep.tasks import InMemory, Keeper, Runner, Task, in_process, run_tasks

WIDE = 8  # tokens in a pass over several
EXACT_EVERY = 50  # every so many positions, greedy's own pass is computed too
README_MARKS = ("<!-- numerics: written by the command, not by hand -->", "<!-- /numerics -->")


def own_text(lm: LM, seed: int) -> list[int]:
    """Ids that the model itself sampled, as many as fit its context."""
    token = seed % (lm.vocab_size - 1)
    start = lm.tokenizer.decode([token + (token >= lm.eos_id)])  # any token but EOS
    prompt = start if start.strip() else "Once"
    run = speculate(lm, prompt, None, lm.context_length, temperature=1.0, seed=seed)
    return run.prompt_ids + run.new_ids


@dataclasses.dataclass
class Difference:
    """What two kinds of pass were found to differ by.

    close: positions whose two best logits lie closer than the bound.
    """

    dtype: str
    kinds: str
    positions: int = 0
    flips: int = 0
    largest: float = 0.0
    close: int = 0

    def add(self, a: torch.Tensor, b: torch.Tensor, bound: float) -> None:
        """Count the positions of `[n, V]` logits from both kinds of pass."""
        best = a.topk(2).values
        self.positions += len(a)
        self.flips += int((a.argmax(-1) != b.argmax(-1)).sum())
        self.largest = max(self.largest, float((a - b).abs().max()))
        self.close += int((best[:, 0] - best[:, 1] < bound).sum())


@dataclasses.dataclass(frozen=True)
class TextAsked:
    """One of the model's own texts, by its number, in one type of number."""

    model: str
    identity: str
    dtype: str
    text: int

    @property
    def key(self) -> str:
        """What it is known by for good."""
        return f"{self.identity} {self.dtype} {self.text:08}"


@dataclasses.dataclass(frozen=True)
class TextRow:
    """What was found in one text: the counts of Difference.

    wide: one token beside several in a pass. own: greedy's own passes beside one token.
    """

    key: str
    wide_positions: int
    wide_flips: int
    wide_largest: float
    wide_close: int
    own_positions: int
    own_flips: int
    own_largest: float
    own_close: int


def text_row(lm_of: Callable[[str], LM], asked: TextAsked) -> TextRow:
    """Differences between kinds of pass over all tokens of one text."""
    lm, dtype = lm_of(asked.model), getattr(torch, asked.dtype)
    refuse_another(lm, asked.identity)
    typed = lm.kept.setdefault(f"in {asked.dtype}", None) or in_dtype(lm, dtype)
    lm.kept[f"in {asked.dtype}"], bound = typed, TIE_BOUNDS[dtype]
    ids, wide, own = own_text(lm, asked.text), Difference("", ""), Difference("", "")
    single = logits_in_steps(typed, ids, 1)
    wide.add(single, logits_in_steps(typed, ids, WIDE), bound)
    places = range(asked.text % min(EXACT_EVERY, len(ids)), len(ids), EXACT_EVERY)
    passes = [last_logits(typed, torch.tensor([ids[: place + 1]])) for place in places]
    own.add(torch.stack(passes), single[list(places)], bound)
    counts = {f"wide_{k}": v for k, v in list(vars(wide).items())[2:]}
    return TextRow(asked.key, **counts, **{f"own_{k}": v for k, v in list(vars(own).items())[2:]})


@dataclasses.dataclass(frozen=True)
class Passes:
    """What is measured: a model's own texts in these types, on a runner, kept by a keeper."""

    lm: LM
    dtypes: Sequence[str]
    runner: Runner = in_process
    keeper: Keeper = dataclasses.field(default_factory=InMemory)

    def asked(self, dtype: str, text: int) -> TextAsked:
        """That text in that type."""
        return TextAsked(self.lm.model_id, identity_of(self.lm), dtype, text)


def measured_texts(passes: Passes, positions: int, lm_of: Callable[[str], LM]) -> int:
    """Measure as many texts as have at least `positions` tokens together → their number.

    A text has no more tokens than the context: so many more texts are needed in any case, and no
    other is measured however many work at it.
    """
    texts, tokens = 0, 0
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("positions", total=check_int("positions", positions, 1))
        while tokens < positions:
            more = math.ceil((positions - tokens) / passes.lm.context_length)
            new = [passes.asked(d, i) for i in range(texts, texts + more) for d in passes.dtypes]
            tasks = (Task(one.key, one) for one in new)
            do = partial(text_row, lm_of)
            run_tasks(do, tasks, passes.keeper, passes.runner).check()
            rows = passes.keeper.rows()
            texts += more
            keys = [passes.asked(passes.dtypes[0], i).key for i in range(texts)]
            tokens = sum(rows[key].wide_positions for key in keys)
            bar.update(task, completed=tokens)
    return texts


def measure(
    passes: Passes, positions: int, lm_of: Callable[[str], LM] | None = None
) -> list[Difference]:
    """Differences between kinds of pass over at least so many positions, in each type.

    lm_of: gives a worker its model; None: the model at hand, for the runner in this process.
    """
    texts = measured_texts(passes, positions, lm_of or (lambda name: passes.lm))
    rows, found = passes.keeper.rows(), []
    for dtype in passes.dtypes:
        ours = [rows[passes.asked(dtype, i).key] for i in range(texts)]
        kinds = {"wide": f"one token, {WIDE} tokens", "own": "greedy's own, one token"}
        found += [summed(ours, kind, Difference(dtype, name)) for kind, name in kinds.items()]
    return found


def summed(rows: Sequence[TextRow], kind: str, into: Difference) -> Difference:
    """The counts of one kind over all texts."""
    for row in rows:
        into.positions += getattr(row, f"{kind}_positions")
        into.flips += getattr(row, f"{kind}_flips")
        into.largest = max(into.largest, getattr(row, f"{kind}_largest"))
        into.close += getattr(row, f"{kind}_close")
    return into


COLUMNS = ("numbers", "kinds of pass", "positions", "flips", "largest difference", "near ties")


def cells(row: Difference) -> list[str]:
    """One row of the table."""
    bound = TIE_BOUNDS[getattr(torch, row.dtype)]
    return [
        row.dtype,
        row.kinds,
        f"{row.positions:,}",
        f"{row.flips:,}",
        f"{row.largest:.1e}",
        f"{row.close / row.positions:.2%} (< {bound:g})",
    ]


def as_markdown(rows: Sequence[Difference]) -> str:
    """The table as Markdown."""
    return md_table(COLUMNS, map(cells, rows), left=2) + "\n"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    name = "python -m medusa_lib.bench.numerics"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("--model", default=default_model_id(), help="name, folder or hub id")
    parser.add_argument("--positions", type=int, default=100_000)
    types = [str(dtype).removeprefix("torch.") for dtype in TIE_BOUNDS]
    default = ["float32", "bfloat16"]
    parser.add_argument("--dtypes", nargs="+", choices=types, default=default)
    parser.add_argument("--out", type=Path, help=f"keep what is done here, and go on; by {EXTRA}")
    add_cluster_options(parser)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", type=Path, help="write the table into this Markdown file")
    return parser.parse_args(argv)


def measured(args: argparse.Namespace) -> list[Difference]:
    """Measure here or on a cluster; with --out what is done stays, and is not done again."""
    lm = named_lm(args.model)
    keeping = contextlib.nullcontext(InMemory())
    if args.out:
        keeping = ParquetKeeper(args.out, TextRow)
    with keeping as keeper, any_runner(args.scheduler, args.processes) as runner:
        return measure(Passes(lm, args.dtypes, runner, keeper), args.positions, named_lm)


def main(argv: list[str] | None = None) -> None:
    """Measure on the processor, print, and write what was asked for."""
    args = parse(argv)
    try:
        rows = measured(args)
        table = Table(*COLUMNS)
        for row in rows:
            table.add_row(*cells(row))
        Console().print(table)
        if args.json:
            found = [dataclasses.asdict(row) for row in rows]
            args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if args.readme:
            fill_marks(args.readme, *README_MARKS, as_markdown(rows))
    except (ValueError, OSError, ModelLoadError, *SWEEP_ERRORS) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
