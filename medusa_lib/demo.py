"""STEP7: greedy, Medusa-tiny and its cure on the same prompt, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from medusa_lib.base.checks import checked
from medusa_lib.base.config import Cfg
from medusa_lib.base.metrics import first_difference, metrics, metrics_rows, speedup
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import Hook, Prompt
from medusa_lib.beyond.drafters import Drafter
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.speculative import Knobs, prepare, speculate
from medusa_lib.steps.loops import medusa_tiny, run_greedy
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import decode

PROMPT = "In a distant future, "
RUNS = ("greedy", "Medusa-tiny", "greedy, cached", "the cure")  # as learners see them


@dataclass(frozen=True)
class Comparison:
    """All runs on one prompt, and whether their new tokens are the same.

    cure: one-pass verification with a cheap drafter. cached: greedy with the same cache and no
    drafter, the baseline of its speed-up.
    """

    prompt: str
    cfg: Cfg
    greedy: Generation
    medusa: Generation
    cached: Generation
    cure: Generation

    @property
    def runs(self) -> dict[str, Generation]:
        """The runs by the names that learners see."""
        return dict(zip(RUNS, (self.greedy, self.medusa, self.cached, self.cure), strict=True))

    @property
    def identical(self) -> bool:
        """True if all runs wrote the same new tokens: the invariant of the course."""
        return self.first_difference is None

    @property
    def first_difference(self) -> int | None:
        """The first new token at which a run differs from greedy, from 0; None if identical."""
        found = [first_difference(self.greedy.new_ids, run.new_ids) for run in self.runs.values()]
        return min((at for at in found if at is not None), default=None)


@checked
def compare(
    lm: LM,
    prompt: Prompt = PROMPT,
    cfg: Cfg | None = None,
    on_loop: Hook = None,
    drafter: str | Drafter = "ngram",
) -> Comparison:
    """Run greedy, Medusa-tiny, cached greedy and the cure on one prompt.

    The knobs of `cfg` are Medusa-tiny's; the others take only the number of new tokens from it.
    on_loop sees the loops of all, in this order. drafter: who drafts for the cure, at its own
    span. Raises ValueError for a bad cfg, a prompt out of range, or a model or drafter that does
    not do, before any pass.
    """
    cfg = cfg or Cfg()
    return Comparison(prompt, cfg, *one_by_one(lm, prompt, cfg, on_loop, drafter))


def one_by_one(
    lm: LM, prompt: str, cfg: Cfg, on_loop: Hook = None, drafter: str | Drafter = "ngram"
) -> Iterator[Generation]:
    """The runs of `compare`, each when it is asked for. Raises the same errors, at once."""
    most, drafter = cfg.MAX_NEW_TOKENS, make_drafter(drafter, lm)
    for each in (None, drafter):  # all that can be refused is, before greedy's passes
        prepare(lm, prompt, each, Knobs(most))
    calls = (
        lambda: run_greedy(lm, prompt, most, on_loop),
        lambda: medusa_tiny(lm, prompt, on_loop=on_loop, **cfg.knobs),
        lambda: speculate(lm, prompt, None, most, on_loop=on_loop),
        lambda: speculate(lm, prompt, drafter, most, on_loop=on_loop),
    )
    return (call() for call in calls)


def show_token(lm: LM, token: int) -> str:
    """One token in quotes, or EOS, which has no text."""
    return "EOS" if lm.is_end(token) else repr(decode(lm, [token]))


def describe_loop(lm: LM, record: LoopRecord) -> str:
    """One loop in words: every draft token beside the verdict on it."""
    lines = [f"loop {record.index}: drafted {len(record.branch)}, accepted {record.accepted}"]
    for i, token in enumerate(record.branch):
        text = show_token(lm, token)
        if i < record.accepted:
            lines.append(f"  draft {text} == greedy: accepted")
        elif i < record.evaluated:
            greedy = show_token(lm, record.correction)
            lines.append(f"  draft {text} != greedy {greedy}: corrected, stop")
        else:
            lines.append(f"  draft {text}: unused")
    if record.bonus is not None:
        lines.append(f"  bonus {show_token(lm, record.bonus)}: the same pass had it ready")
    return "\n".join(lines)


def as_json(comparison: Comparison) -> dict:
    """A comparison as plain data, for scripts."""
    names = ("greedy", "medusa", "cached", "cure")
    runs = {name: getattr(comparison, name) for name in names}
    return {
        "prompt": comparison.prompt,
        "cfg": dataclasses.asdict(comparison.cfg),
        "identical": comparison.identical,
        "first_difference": comparison.first_difference,
        **{
            name: {"text": run.text, "new_ids": run.new_ids, **metrics(run)}
            for name, run in runs.items()
        },
    }


def report(comparison: Comparison) -> str:
    """A comparison as text: all outputs, identical or not, and the cost of each."""
    runs = comparison.runs.items()
    texts = [part for name, run in runs for part in (f"--- {name} ---", str(run))]
    return "\n".join([*texts, verdict_on(comparison)])


def verdict_on(comparison: Comparison) -> str:
    """The end of a report: identical or not, and the cost of each run."""
    at, runs = comparison.first_difference, comparison.runs
    rows = [("", *runs), *metrics_rows(*runs.values()), speedup_row(comparison)]
    return "\n".join(
        [
            "---",
            "identical: " + ("yes" if at is None else f"NO, first at new token {at}"),
            *(f"{label:26}" + "".join(f"{x:>16}" for x in values) for label, *values in rows),
        ]
    )


SPEEDUP_LABEL = "speed-up (cached s ÷ s)"


def speedup_row(comparison: Comparison) -> tuple[str, ...]:
    """The speed-up of each run over cached greedy; a dash for one that wrote something else."""

    def cell(run: Generation) -> str:
        same = run.new_ids == comparison.cached.new_ids and run.seconds > 0
        return f"{speedup(run, comparison.cached):.2f}" if same else "–"

    return (SPEEDUP_LABEL, *(cell(run) for run in comparison.runs.values()))
