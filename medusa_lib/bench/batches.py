"""What passes over batches cost on this machine: `python -m medusa_lib.bench.batches`.

Writes the table that BEYOND9 and BEYOND13 read. One model and one number of threads at a time,
so that each run is short; the rest of the file stays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from medusa_lib.base.checks import check_int
from medusa_lib.beyond.heads_training import openings
from medusa_lib.measure.batches import Oracle, batch_seconds, decode_batch
from medusa_lib.measure.batches_table import GPT2_SMALL, SHIPPED, TABLE
from medusa_lib.measure.conditions import machine
from medusa_lib.measure.roofline import gpt2_small, measure_machine
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.model import LM, load_lm
from medusa_lib.steps.utilities import decode, encode

BATCHES, POSITIONS, CONTEXT = (1, 2, 4, 8, 16, 32, 64, 128), (1, 2, 4, 8), 32
ALPHA, SPAN, OPENING = 0.8, 3, 16  # the texts grow from 16 tokens to 48, around the context
PARTS = ("passes", "loops")


def passes_rows(lm: LM, batches: Sequence[int], repeats: int) -> list[dict]:
    """A row for each size of batch and number of positions."""
    seconds = batch_seconds(lm, batches, POSITIONS, CONTEXT, repeats)
    return [
        {"batch": batch, "positions": positions, "ms": round(1000 * taken, 3)}
        for (batch, positions), taken in seconds.items()
    ]


def loops_rows(lm: LM, shipped: LM, batches: Sequence[int], new_tokens: int) -> list[dict]:
    """A row for each size of batch: written plainly, then with drafts of a known α.

    A few texts more than needed are written, and those that end early left out. Raises
    RuntimeError where these are too many.
    """
    most = max(batches)
    ids = openings(shipped, most + most // 4 + 8, OPENING, make_generator(7))
    prompts = [decode(shipped, row) for row in ids]
    written = zip(prompts, decode_batch(lm, prompts, None, new_tokens).new_ids, strict=True)
    known = [(prompt, new) for prompt, new in written if len(new) == new_tokens]
    if len(known) < most:
        raise RuntimeError(f"only {len(known)} of {len(ids)} texts have {new_tokens} new tokens")
    return [loop_row(lm, known[:batch], new_tokens) for batch in batches]


def loop_row(lm: LM, known: Sequence[tuple[str, list[int]]], new_tokens: int) -> dict:
    """The loops of one batch, by the clock; known: prompts and what follows them.

    Raises RuntimeError if a text comes out differently.
    """
    generator, prompts = make_generator(7), [prompt for prompt, _ in known]
    texts = [[*encode(lm, prompt)[0].tolist(), *new] for prompt, new in known]
    drafters = [Oracle(text, ALPHA, lm.vocab_size, generator) for text in texts]
    runs = [decode_batch(lm, prompts, each, new_tokens, SPAN) for each in (None, drafters)]
    if any(run.new_ids != [new for _, new in known] for run in runs):
        raise RuntimeError("a batch wrote other tokens than another")
    plain, drafted = (round(1000 * run.loop_seconds, 3) for run in runs)
    given = {"batch": len(known), "alpha": ALPHA, "span": SPAN}
    return {**given, "tau": round(runs[1].tau, 3), "plain_ms": plain, "loop_ms": drafted}


def measure_part(args: argparse.Namespace) -> dict:
    """What was asked for, of one model on so many threads."""
    torch.set_num_threads(args.threads)
    shipped = load_lm(device="cpu")
    lm = shipped if args.model == SHIPPED else gpt2_small(shipped)
    batches = [batch for batch in BATCHES if args.least <= batch <= args.most]
    about = {"model": args.model, "threads": args.threads, "processor": machine(lm.device)}
    if args.part == "loops":
        return {**about, "loops": loops_rows(lm, shipped, batches, args.new_tokens)}
    best = measure_machine()
    return {
        **about,
        "context": CONTEXT,
        "bytes_per_second": round(best.bytes_per_second, -7),
        "operations_per_second": round(best.operations_per_second, -7),
        "passes": passes_rows(lm, batches, args.repeats),
    }


def merged(old: dict, new: dict, part: str) -> dict:
    """An entry of the file with what was measured anew in place of the old."""
    rows = {(row["batch"], row.get("positions", 0)): row for row in old.get(part, [])}
    rows |= {(row["batch"], row.get("positions", 0)): row for row in new[part]}
    return {**old, **new, part: [rows[key] for key in sorted(rows)]}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.bench.batches", description=__doc__)
    parser.add_argument("--model", choices=(SHIPPED, GPT2_SMALL), default=SHIPPED)
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--part", choices=PARTS, required=True, help="what to measure")
    parser.add_argument("--repeats", type=int, default=9, help="timings of each pass")
    parser.add_argument("--new-tokens", type=int, default=32, help="that each user is written")
    parser.add_argument("--least", type=int, default=1, help="users of the smallest batch")
    parser.add_argument("--most", type=int, default=max(BATCHES), help="users of the largest batch")
    parser.add_argument("--out", type=Path, default=TABLE, help="the file whose rows are replaced")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure one part of one model's entry, and put it into the file."""
    args = parse(argv)
    for name in ("threads", "repeats", "new_tokens", "least", "most"):
        check_int(f"--{name.replace('_', '-')}", getattr(args, name), 1)
    new = measure_part(args)
    old = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else []
    known = {(one["model"], one["threads"]): one for one in old}
    key = (args.model, args.threads)
    known[key] = merged(known.get(key, {}), new, args.part)
    rows = sorted(known.values(), key=lambda one: (one["model"] != SHIPPED, one["threads"]))
    args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{args.model}, {args.threads} threads: {args.part} measured")


if __name__ == "__main__":
    main()
