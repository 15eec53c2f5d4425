"""What a run would take on a dearer model: its loops again, each pass made by a stand-in."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from transformers import GPT2Config, GPT2LMHeadModel

from medusa_lib.base.checks import checked
from medusa_lib.base.records import Generation
from medusa_lib.base.words import Positive, Temperature
from medusa_lib.beyond.drafters import Drafter
from medusa_lib.beyond.one_pass import State, one_pass
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.tree_attention import keep
from medusa_lib.steps.model import LM, make_lm


def dear_model(lm: LM) -> LM:
    """A model of GPT-2 small's size with random float32 weights and `lm`'s tokenizer.

    What a pass costs does not depend on what a model has learned. Unlike the shipped weights
    these need all of their 32 bits, as those of most models do.
    """
    return make_lm(lm.tokenizer, GPT2LMHeadModel(GPT2Config()), "gpt2-small, random weights")


@checked
def fastest_runs(
    lm: LM,
    drafters: Mapping[str, Drafter | None],
    prompts: Sequence[str],
    max_new_tokens: Positive = 48,
    temperature: Temperature = 0.0,
    rounds: Positive = 3,
) -> dict[str, list[Generation]]:
    """Write all prompts with each drafter, which take turns → name → a run for each prompt.

    Each is the fastest of `rounds`: they write the same text. Each prompt has a seed of its own:
    by one for all, all texts would have the same luck.
    """
    best: dict[str, list[Generation]] = {name: [] for name in drafters}
    for _ in range(rounds):
        for i, prompt in enumerate(prompts):
            for name, drafter in drafters.items():
                knobs = {"temperature": temperature, "seed": i}
                run = speculate(lm, prompt, drafter, max_new_tokens, **knobs)
                known = best[name][i : i + 1]
                best[name][i : i + 1] = [min([*known, run], key=lambda run: run.seconds)]
    return best


@checked
def stand_in_seconds(
    lm: LM, runs: Mapping[str, Sequence[Generation]], rounds: Positive = 2
) -> dict[str, float]:
    """Seconds that `lm` takes for the loops of runs that another model wrote, by their name.

    It makes each loop's pass over the same drafts and keeps what was accepted there. Left out:
    drafting, choosing tokens, and the first loop, which reads the prompt. The names take turns,
    and of each run the fastest of `rounds` counts. Raises ValueError for a run that does not fit
    the model.
    """
    for some in runs.values():
        for run in some:
            check_run(lm, run)
    best = {name: [math.inf] * len(some) for name, some in runs.items()}
    for i in [*range(max(map(len, runs.values()), default=0))] * rounds:
        for name, some in runs.items():
            if i < len(some):
                best[name][i] = min(best[name][i], loops_seconds(lm, some[i]))
    return {name: sum(seconds) for name, seconds in best.items()}


def check_run(lm: LM, run: Generation) -> None:
    """Raises ValueError unless the model knows all tokens of a run and has room for them."""
    drafted = [token for loop in run.loops for token in loop.branch]
    highest = max([*run.prompt_ids, *run.new_ids, *drafted])
    if highest >= lm.vocab_size:
        raise ValueError(f"each id of runs must be < {lm.vocab_size}, got {highest}")
    longest = max((len(loop.branch) for loop in run.loops), default=0)
    most = len(run.prompt_ids) + len(run.new_ids) + longest
    if most > lm.context_length:
        raise ValueError(f"runs must fit into {lm.context_length} tokens, got {most}")


def loops_seconds(lm: LM, run: Generation) -> float:
    """Seconds of one run's loops, but for the first."""
    state, began = State.start(lm, list(run.prompt_ids)), 0.0
    for loop in run.loops:
        one_pass(state, list(loop.branch), loop.parents)[-1, 0].item()  # also on a GPU: done
        keep(state, range(loop.accepted))  # in a record the accepted path comes first
        state.ids += loop.emitted
        began = began or time.perf_counter()
    return time.perf_counter() - began
