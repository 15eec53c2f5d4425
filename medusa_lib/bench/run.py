"""The whole bench: prompts in, rows of all tables out."""

from __future__ import annotations

import dataclasses

import torch
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
from medusa_lib.measure.conditions import machine
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM

ROUNDS = 5


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
