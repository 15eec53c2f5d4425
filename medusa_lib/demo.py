"""STEP7: greedy and Medusa-tiny on the same prompt, side by side."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from medusa_lib.config import Cfg
from medusa_lib.loops import OnLoop, medusa_tiny, run_greedy
from medusa_lib.model import LM
from medusa_lib.records import (
    Generation,
    LoopRecord,
    acceptance_rate,
    draft_efficiency,
    first_difference,
    mean_accepted_length,
    passes_per_token,
)
from medusa_lib.utilities import decode

PROMPT = "In a distant future, "


@dataclass(frozen=True)
class Comparison:
    """Both runs on one prompt, and whether their new tokens are the same."""

    prompt: str
    cfg: Cfg
    greedy: Generation
    medusa: Generation

    @property
    def identical(self) -> bool:
        """True if both runs wrote the same new tokens: the invariant of the course."""
        return self.greedy.new_ids == self.medusa.new_ids

    @property
    def first_difference(self) -> int | None:
        """The first new token that differs, counted from 0; None if identical."""
        return first_difference(self.greedy.new_ids, self.medusa.new_ids)


def compare(
    lm: LM, prompt: str = PROMPT, cfg: Cfg | None = None, on_loop: OnLoop | None = None
) -> Comparison:
    """Run greedy, then Medusa-tiny, with the knobs of `cfg`. on_loop sees the loops of both.

    Raises ValueError for a bad cfg or a prompt out of range, before any pass.
    """
    cfg = Cfg() if cfg is None else cfg
    if not isinstance(cfg, Cfg):
        raise ValueError(f"cfg must be None or a Cfg, got {cfg!r}")
    greedy = run_greedy(lm, prompt, cfg.MAX_NEW_TOKENS, on_loop)
    medusa = medusa_tiny(
        lm,
        prompt,
        cfg.MAX_NEW_TOKENS,
        span=cfg.SPAN,
        temperature=cfg.TEMPERATURE,
        top_p=cfg.TOP_P,
        seed=cfg.SEED,
        ban_eos_first_n=cfg.BAN_EOS_FIRST_N,
        rep_ban_n=cfg.REP_BAN_N,
        on_loop=on_loop,
    )
    return Comparison(prompt, cfg, greedy, medusa)


def metrics(run: Generation) -> dict[str, float | int | str | None]:
    """The figures of one run, under the names of the course; None where one has no meaning."""
    figures = {
        "new_tokens": len(run.new_ids),
        "stop_reason": run.stop_reason,
        "loops": len(run.loops),
        "draft_passes": run.draft_passes,
        "verify_passes": run.verify_passes,
        "model_passes": run.model_passes,
        "passes_per_token": passes_per_token(run),
        "acceptance_rate": acceptance_rate(run.loops),
        "draft_efficiency": draft_efficiency(run.loops),
        "mean_accepted_length": mean_accepted_length(run.loops),
        "seconds": run.seconds,
    }
    empty = {k for k, v in figures.items() if isinstance(v, float) and math.isnan(v)}
    return {k: None if k in empty else v for k, v in figures.items()}


def show_token(lm: LM, token: int) -> str:
    """One token in quotes, or EOS, which has no text."""
    return "EOS" if token == lm.eos_id else repr(decode(lm, [token]))


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
    return "\n".join(lines)


def as_json(comparison: Comparison) -> dict:
    """A comparison as plain data, for scripts."""
    runs = {"greedy": comparison.greedy, "medusa": comparison.medusa}
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


LABELS = {
    "new_tokens": "new tokens",
    "stop_reason": "stopped by",
    "loops": "loops",
    "draft_passes": "draft passes",
    "verify_passes": "verify passes",
    "model_passes": "model passes",
    "passes_per_token": "model passes ÷ new tokens",
    "acceptance_rate": "α = accepted ÷ evaluated",
    "draft_efficiency": "accepted ÷ drafted",
    "mean_accepted_length": "τ = emitted ÷ loops",
    "seconds": "seconds",
}


def metrics_rows(*runs: Generation) -> list[tuple[str, ...]]:
    """One row per figure: its label with its denominator, then its value for each run."""

    def cell(value: float | int | str | None) -> str:
        if value is None:
            return "–"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    figures = [metrics(run) for run in runs]
    return [(label, *(cell(f[key]) for f in figures)) for key, label in LABELS.items()]


def report(comparison: Comparison) -> str:
    """A comparison as text: both outputs, identical or not, and the cost of each."""
    at = comparison.first_difference
    rows = [("", "greedy", "Medusa-tiny"), *metrics_rows(comparison.greedy, comparison.medusa)]
    return "\n".join(
        [
            "--- greedy ---",
            str(comparison.greedy),
            "--- Medusa-tiny ---",
            str(comparison.medusa),
            "---",
            "identical: " + ("yes" if at is None else f"NO, first at new token {at}"),
            *(f"{label:26}{a:>10}{b:>14}" for label, a, b in rows),
        ]
    )
