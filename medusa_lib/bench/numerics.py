"""How far passes of different kinds differ, and how often a choice flips.

python -m medusa_lib.bench.numerics

The same tokens go through the model one at a time, eight at a time, and as a whole. On paper
the logits are equal; in floating point they differ in the last bits. TIE_BOUNDS of one_pass.py
must be more than twice the largest difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from medusa_lib.base.checks import check_int
from medusa_lib.base.config import default_model_id
from medusa_lib.base.tables import md_table
from medusa_lib.bench.tables import fill_marks
from medusa_lib.beyond.near_ties import TIE_BOUNDS
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.numbers import in_dtype, logits_in_steps
from medusa_lib.steps.model import LM, ModelLoadError, load_lm
from medusa_lib.steps.utilities import last_logits

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


def own_texts(lm: LM, positions: int) -> list[list[int]]:
    """As many of the model's own texts as have at least `positions` tokens together."""
    texts: list[list[int]] = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing", total=check_int("positions", positions, 1))
        while sum(map(len, texts)) < positions:
            texts.append(own_text(lm, len(texts)))
            bar.advance(task, len(texts[-1]))
    return texts


def measure(lm: LM, dtype: torch.dtype, texts: Sequence[Sequence[int]]) -> list[Difference]:
    """Differences between kinds of pass over all tokens of some texts."""
    typed, bound = in_dtype(lm, dtype), TIE_BOUNDS[dtype]
    name = str(dtype).removeprefix("torch.")
    wide = Difference(name, f"one token, {WIDE} tokens")
    exact = Difference(name, "greedy's own, one token")
    for i, ids in enumerate(track(texts, name, console=Console(stderr=True), transient=True)):
        single = logits_in_steps(typed, ids, 1)
        wide.add(single, logits_in_steps(typed, ids, WIDE), bound)
        places = range(i % min(EXACT_EVERY, len(ids)), len(ids), EXACT_EVERY)
        own = [last_logits(typed, torch.tensor([ids[: place + 1]])) for place in places]
        exact.add(torch.stack(own), single[list(places)], bound)
    return [wide, exact]


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
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--readme", type=Path, help="write the table into this Markdown file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure on the processor, print, and write what was asked for."""
    args = parse(argv)
    try:
        lm = load_lm(args.model, "cpu")
        types = [getattr(torch, name) for name in args.dtypes]
        texts = own_texts(lm, args.positions)
        rows = [row for dtype in types for row in measure(lm, dtype, texts)]
        table = Table(*COLUMNS)
        for row in rows:
            table.add_row(*cells(row))
        Console().print(table)
        if args.json:
            found = [dataclasses.asdict(row) for row in rows]
            args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if args.readme:
            fill_marks(args.readme, *README_MARKS, as_markdown(rows))
    except (ValueError, OSError, ModelLoadError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
