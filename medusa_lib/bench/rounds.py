"""Decoders take turns on each prompt, again and again; the median over the rounds counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from medusa_lib.bench.decoders import (
    GENERATE,
    GREEDY,
    PLAIN_SAMPLING,
    TEMPERATURE,
    Decoder,
    Outcome,
)
from medusa_lib.bench.rows import GreedyRow, PassCost, SamplingRow
from medusa_lib.measure.roofline import measure_machine, roofline
from medusa_lib.measure.stopwatch import COUNTS, pass_seconds
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import softmax_temp

# Seconds between two runs. Threads spin for a few milliseconds after their work, ours and those
# of a peer in its own process, and would slow whoever comes next; then they sleep.
SETTLE = 0.01
PAIRS = 9  # of measurements, one after the other


@dataclass
class Tally:
    """All runs of one decoder: `outcomes[prompt]` is one run a round."""

    name: str
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    differing: set[int] = field(default_factory=set)

    def add(self, prompt: int, outcome: Outcome, greedy: Outcome | None) -> None:
        """Note one run; greedy None: there is nothing to compare with."""
        self.outcomes.setdefault(prompt, []).append(outcome)
        if greedy is not None and outcome.ids != greedy.ids:
            self.differing.add(prompt)

    def seconds(self, prompts: Sequence[int]) -> float:
        """Sum over prompts of the median over rounds."""
        times = ([outcome.seconds for outcome in self.outcomes[prompt]] for prompt in prompts)
        return sum(map(statistics.median, times))


def run_rounds(
    decoders: dict[str, Decoder],
    prompts: Sequence[str],
    rounds: int,
    reference: str | None,
    on_run: Callable[[], None],
) -> dict[str, Tally]:
    """Each decoder on each prompt, `rounds` times, taking turns; a first round is not counted.

    reference: the decoder whose tokens the others must write; None: no comparison.
    """
    tallies = {name: Tally(name) for name in decoders}
    for turn in range(-1, rounds):
        for i, prompt in enumerate(prompts):
            outcomes = {}
            for name, decode in decoders.items():
                time.sleep(SETTLE)
                outcomes[name] = decode(prompt, 1000 * (turn + 1) + i)
                on_run()
            greedy = outcomes[reference] if reference else None
            if turn >= 0:
                for name, outcome in outcomes.items():
                    tallies[name].add(i, outcome, greedy)
    return tallies


def surprise(lm: LM, prompt: str, ids: Sequence[int]) -> list[float]:
    """How surprised the model is by each token of a sample, in nats, at TEMPERATURE.

    Its mean is the same for all samplers of the same distribution.
    """
    known = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    fed = torch.tensor([[*known, *ids]], device=lm.device)
    with torch.inference_mode():
        logits = lm.model(input_ids=fed, use_cache=False).logits[0].double().cpu()
    places = range(len(known) - 1, len(known) + len(ids) - 1)
    probs = (softmax_temp(logits[place], TEMPERATURE) for place in places)
    return [-float(p[token].log()) for p, token in zip(probs, ids, strict=True)]


def counts(name: str, done: Sequence[Outcome]) -> dict[str, object]:
    """The fields of Counts over some runs of one decoder."""
    tokens, loops = sum(len(o.ids) for o in done), sum(o.loops for o in done)
    evaluated = sum(o.evaluated or 0 for o in done)
    return {
        "name": name,
        "tokens": tokens,
        "verify_passes": sum(o.verify_passes for o in done),
        "draft_passes": sum(o.draft_passes for o in done),
        "tau": tokens / loops if loops else None,
        "alpha": sum(o.accepted or 0 for o in done) / evaluated if evaluated else None,
    }


def greedy_row(tally: Tally, prompts: Sequence[int], greedy: Tally, generate: Tally) -> GreedyRow:
    """The figures of one decoder over some prompts, beside cached greedy and generate.

    All rounds wrote the same, so the last one is counted; seconds are medians over rounds.
    """
    done, seconds = [tally.outcomes[prompt][-1] for prompt in prompts], tally.seconds(prompts)
    return GreedyRow(
        **counts(tally.name, done),
        seconds=seconds,
        tokens_per_second=sum(len(o.ids) for o in done) / seconds,
        over_greedy=greedy.seconds(prompts) / seconds,
        over_generate=generate.seconds(prompts) / seconds,
        identical=len(prompts) - len(tally.differing & set(prompts)),
        prompts=len(prompts),
    )


def greedy_table(tallies: dict[str, Tally], prompts: Sequence[int]) -> list[GreedyRow]:
    """The rows of the first table over some of the prompts."""
    over = tallies[GREEDY], tallies[GENERATE]
    return [greedy_row(tally, prompts, *over) for tally in tallies.values()] if prompts else []


def tokens_per_second(tally: Tally) -> float:
    """The median over rounds of tokens ÷ seconds: each round of sampling writes other texts."""
    rounds = zip(*tally.outcomes.values(), strict=True)
    speeds = [sum(len(o.ids) for o in runs) / sum(o.seconds for o in runs) for runs in rounds]
    return statistics.median(speeds)


def sampling_row(
    tally: Tally, plain: Tally, nats: Sequence[float], prompts: Sequence[str]
) -> SamplingRow:
    """The figures of one sampler over all rounds. nats: how surprising each token was."""
    speed, plain_speed = tokens_per_second(tally), tokens_per_second(plain)
    return SamplingRow(
        **counts(tally.name, [o for runs in tally.outcomes.values() for o in runs]),
        tokens_per_second=speed,
        over_plain=speed / plain_speed if plain_speed else None,
        surprise=statistics.fmean(nats) if nats else None,
        surprise_error=statistics.stdev(nats) / len(nats) ** 0.5 if len(nats) > 1 else None,
        prompts=len(prompts),
    )


def sampling_table(lm: LM, tallies: dict[str, Tally], prompts: Sequence[str]) -> list[SamplingRow]:
    """The rows of the second table: tokens per second, and the surprise of what was written."""
    rows = []
    for tally in tallies.values():
        written = [(p, o.ids) for i, p in enumerate(prompts) for o in tally.outcomes[i] if o.ids]
        nats = [x for prompt, ids in written for x in surprise(lm, prompt, ids)]
        rows.append(sampling_row(tally, tallies[PLAIN_SAMPLING], nats, prompts))
    return rows


def median_of_pairs(ratio: Callable[[], float]) -> float:
    """Of a ratio of two short measurements: one pair alone may meet a change of the machine."""
    return statistics.median(ratio() for _ in range(PAIRS))


def pass_cost(lm: LM) -> PassCost:
    """Milliseconds of a pass by its number of tokens, and what a full context adds to it.

    On a processor also the share of what the machine can do that a pass reaches.
    """
    sizes = [count for count in COUNTS if count < lm.context_length]
    early, full = max(1, min(64, lm.context_length - max(sizes))), lm.context_length - 1
    seconds = pass_seconds(lm, sizes, context=early)
    late = median_of_pairs(
        lambda: pass_seconds(lm, (1,), context=full)[1] / pass_seconds(lm, (1,), context=early)[1]
    )
    machine = measure_machine() if lm.device.type == "cpu" else None
    least = {count: roofline(lm, machine, count) for count in sizes} if machine else {}
    return PassCost(
        milliseconds={count: 1000 * seconds[count] for count in sizes},
        ratio={count: seconds[count] / seconds[1] for count in sizes},
        full_context=full,
        full_context_over_64=late,
        machine=machine,
        reading={count: reading / seconds[count] for count, (reading, _) in least.items()},
        arithmetic={count: computing / seconds[count] for count, (_, computing) in least.items()},
    )
