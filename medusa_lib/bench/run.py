"""The whole bench: prompts in, rows of all tables out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from cpuinfo import get_cpu_info
from rich.console import Console
from rich.progress import Progress

from medusa_lib.base.checks import checked
from medusa_lib.base.metrics import repeats
from medusa_lib.base.words import Flag, Positive
from medusa_lib.bench.decoders import GREEDY, greedy_decoders, sampling_decoders
from medusa_lib.bench.first import first_speculate
from medusa_lib.bench.goals import goals
from medusa_lib.bench.loop_parts import loop_parts
from medusa_lib.bench.peers import peer_decoders, peer_notes
from medusa_lib.bench.rounds import greedy_table, pass_cost, run_rounds, sampling_table
from medusa_lib.bench.rows import BenchResult
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM

PROMPTS = Path(__file__).with_name("prompts.txt")
ROUNDS = 5


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


@checked
def run_bench(
    lm: LM,
    prompts: list[str],
    new_tokens: Positive,
    rounds: Positive = ROUNDS,
    console: Console | None = None,
    peers: Flag = False,
) -> BenchResult:
    """All tables, and the goals. peers: take turns with llama.cpp and CTranslate2 too.

    Raises ValueError for a prompt or count out of range, before any run.
    """
    for prompt in prompts:
        start_ids(lm, prompt)
    greedy, sampling = greedy_decoders(lm, new_tokens), sampling_decoders(lm, new_tokens)
    bar = Progress(console=console or Console(stderr=True), transient=True)
    with bar, peer_decoders(lm, new_tokens, peers) as others:
        greedy |= others
        total = (rounds + 1) * len(prompts) * (len(greedy) + len(sampling))
        task = bar.add_task("runs", total=total)

        def on_run() -> None:
            bar.advance(task)

        tallies = run_rounds(greedy, prompts, rounds, "greedy, no cache", on_run)
        sampled = run_rounds(sampling, prompts, rounds, None, on_run)
    looping = [i for i, done in tallies[GREEDY].outcomes.items() if repeats(done[-1].ids)]
    straight = [i for i in range(len(prompts)) if i not in looping]
    result = BenchResult(
        model=lm.model_id,
        device=str(lm.device),
        machine=machine(lm.device),
        threads=torch.get_num_threads(),
        prompts=len(prompts),
        new_tokens=new_tokens,
        rounds=rounds,
        not_looping=greedy_table(tallies, straight),
        looping=greedy_table(tallies, looping),
        sampling=sampling_table(lm, sampled, prompts),
        passes=pass_cost(lm),
        parts=loop_parts(lm, prompts, new_tokens),
        first_speculate=first_speculate(lm, rounds),
        notes=peer_notes(lm, peers),
    )
    return dataclasses.replace(result, goals=goals(result))
