"""Every decoder on the same prompts in one run: `python -m medusa_lib.bench`.

Decoders take turns on each prompt, again and again; the median over the rounds counts. Every
output at temperature 0 is compared token for token with greedy's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from cpuinfo import get_cpu_info
from rich.console import Console
from rich.progress import Progress

from medusa_lib.base.checks import check_int
from medusa_lib.base.config import default_model_id
from medusa_lib.base.metrics import repeats
from medusa_lib.bench.decoders import GREEDY, greedy_decoders, sampling_decoders
from medusa_lib.bench.goals import goals
from medusa_lib.bench.rounds import greedy_table, pass_table, run_rounds, sampling_table
from medusa_lib.bench.tables import check_outputs, print_tables, save_plot, write_readme
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM, ModelLoadError, load_lm

PROMPTS = Path(__file__).with_name("prompts.txt")
ROUNDS = 5
WIDTH = 110  # letters; the tables need as many, also where the output goes to a file


def read_prompts(path: Path) -> list[str]:
    """Prompts from a text file: a blank line between two, a line of `# …` is a heading.

    Raises ValueError if there is none, OSError if the file cannot be read.
    """
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    lines = ("\n".join(x for x in b.splitlines() if not x.startswith("# ")) for b in blocks)
    prompts = [prompt for prompt in (line.strip("\n") for line in lines) if prompt.strip()]
    if not prompts:
        raise ValueError(f"--prompts must have at least one prompt, got none in {path.name}")
    return prompts


def machine(device: torch.device) -> str:
    """What computes, in words: the GPU, or the processor and its widest instructions."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        about = get_cpu_info()  # virtual machines may hide which of its kind a processor is
        which = [f"{key} {about[key]}" for key in ("family", "model") if key in about]
        more = f" ({', '.join(which)})" if which else ""
        simd = torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type
        name = f"{about.get('brand_raw', 'unknown processor')}{more}, {simd}"
    return " ".join(name.replace("|", " ").split())


def run_bench(
    lm: LM,
    prompts: Sequence[str],
    count: int,
    rounds: int = ROUNDS,
    console: Console | None = None,
) -> dict:
    """Both tables, the cost of passes, and the goals, as plain data.

    Raises ValueError for a prompt or count out of range.
    """
    check_int("new_tokens", count, 1), check_int("rounds", rounds, 1)
    for prompt in prompts:
        start_ids(lm, prompt)
    greedy, sampling = greedy_decoders(lm, count), sampling_decoders(lm, count)
    total = (rounds + 1) * len(prompts) * (len(greedy) + len(sampling))
    with Progress(console=console or Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=total)

        def on_run() -> None:
            bar.advance(task)

        tallies = run_rounds(greedy, prompts, rounds, "greedy, no cache", on_run)
        sampled = run_rounds(sampling, prompts, rounds, None, on_run)
    looping = [i for i, done in tallies[GREEDY].outcomes.items() if repeats(done[-1].ids)]
    others = [i for i in range(len(prompts)) if i not in looping]
    result = {
        "model": lm.model_id,
        "device": str(lm.device),
        "machine": machine(lm.device),
        "threads": torch.get_num_threads(),
        "prompts": len(prompts),
        "new_tokens": count,
        "rounds": rounds,
        "not_looping": greedy_table(tallies, others),
        "looping": greedy_table(tallies, looping),
        "sampling": sampling_table(lm, sampled, prompts),
        "passes": pass_table(lm),
    }
    return {**result, "goals": goals(result)}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.bench", description=__doc__)
    parser.add_argument("--model", default=default_model_id(), help="name, folder or hub id")
    parser.add_argument("--device", help="cpu, cuda or mps; the best at hand if not given")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="a blank line between two")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timings of each run")
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
        result = run_bench(load_lm(args.model, args.device), prompts, args.new_tokens, args.rounds)
        print_tables(result, Console(width=max(WIDTH, Console().width)))
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
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
