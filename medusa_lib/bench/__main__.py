"""Every decoder on the same prompts in one run: `python -m medusa_lib.bench`.

Decoders take turns on each prompt, again and again; the median over the rounds counts. Every
output at temperature 0 is compared token for token with greedy's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from rich.console import Console

from medusa_lib.base.checks import check_int
from medusa_lib.base.config import default_model_id
from medusa_lib.bench.peers import EXTRA
from medusa_lib.bench.rows import BenchResult
from medusa_lib.bench.run import ROUNDS, run_bench
from medusa_lib.bench.tables import check_outputs, print_tables, save_plot, write_readme
from medusa_lib.beyond.heads_files import use_heads
from medusa_lib.measure.conditions import PROMPTS, read_prompts
from medusa_lib.steps.model import ModelLoadError, load_lm

WIDTH = 110  # letters; the tables need as many, also where the output goes to a file


def figures_json(result: BenchResult) -> str:
    """All figures as JSON."""
    met = [{**vars(goal), "met": goal.met} for goal in result.goals]
    return json.dumps({**dataclasses.asdict(result), "goals": met}, indent=1) + "\n"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.bench", description=__doc__)
    parser.add_argument("--model", default=default_model_id(), help="name, folder or hub id")
    parser.add_argument("--heads", type=Path, help="folder of the model's heads, see train_heads")
    parser.add_argument("--device", help="cpu, cuda or mps; the best at hand if not given")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="a blank line between two")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timings of each run")
    about = f"take turns with llama.cpp and CTranslate2; they come by {EXTRA}"
    parser.add_argument("--peers", action="store_true", help=about)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="write a picture here (png, svg, pdf)")
    parser.add_argument("--readme", type=Path, help="write the tables into this Markdown file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write what was asked for; a bad value ends it with one line."""
    args = parse(argv)
    try:
        if args.threads is not None:
            torch.set_num_threads(check_int("--threads", args.threads, 1))
        prompts = read_prompts(args.prompts)
        check_outputs(args.json, args.plot, args.readme)
        lm, size = load_lm(args.model, args.device), (args.new_tokens, args.rounds)
        if args.heads:
            use_heads(lm, args.heads)
        result = run_bench(lm, prompts, *size, peers=args.peers)
        print_tables(result, Console(width=max(WIDTH, Console().width)))
        if args.json:
            args.json.write_text(figures_json(result), encoding="utf-8")
        if args.plot:
            save_plot(result, args.plot)
        if args.readme:
            write_readme(result, args.readme)
    except (ValueError, OSError, ModelLoadError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
