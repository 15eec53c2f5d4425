"""The decoders that the bench compares, and what one run of one of them leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medusa_lib.base.records import Generation
from medusa_lib.beyond.drafters import Drafter, draft_fits, draft_lm
from medusa_lib.beyond.heads_files import heads_fit, shipped_heads
from medusa_lib.beyond.medusa_heads import HeadsDrafter
from medusa_lib.beyond.one_pass import FAMILIES, State, takes_masks
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.typical import Typical
from medusa_lib.measure import peers
from medusa_lib.steps.loops import medusa_tiny, run_greedy
from medusa_lib.steps.model import LM

GREEDY, GENERATE = "greedy, cached", "transformers generate"
PLAIN_SAMPLING, TYPICAL = "plain sampling", "Medusa tree, typical (not exact)"
NGRAM, CHAIN, DRAFT_MODEL = "n-gram", "Medusa chain", "draft model"
BRANCHES, TREE = "self-drafted branches, tree", "Medusa tree"
SHORT, SHORTEST = 4, 3  # heads of a chain that drafts less: where texts vary, the rest is lost
SHORT_CHAIN, SHORTEST_CHAIN = (f"Medusa chain of {count}" for count in (SHORT, SHORTEST))
LOOKAHEAD, EARLY_EXIT = "lookahead", "early exit, first layer"
LARGE = 16  # nodes of a tree for which the project has a goal of its own
LARGE_TREE = f"Medusa tree, {LARGE} nodes"
HEADS_AND_NGRAM = "n-gram of 5, else Medusa tree"
TEMPERATURE = 0.8  # of the table of sampling
Decoder = Callable[[str, int], "Outcome"]  # (prompt, seed) → what it wrote


@dataclass(frozen=True)
class Outcome:
    """One run of one decoder on one prompt."""

    ids: tuple[int, ...]
    seconds: float
    verify_passes: int
    draft_passes: int = 0
    loops: int = 0
    accepted: int | None = None
    evaluated: int | None = None

    @classmethod
    def of(cls, run: Generation) -> Outcome:
        """What matters of a Generation."""
        evaluated = sum(record.evaluated for record in run.loops)
        accepted = sum(record.accepted for record in run.loops)
        drafted = run.draft_passes or evaluated
        return cls(
            tuple(run.new_ids),
            run.seconds,
            run.verify_passes,
            run.draft_passes,
            len(run.loops),
            accepted if drafted else None,
            evaluated if drafted else None,
        )


def greedy_decoders(lm: LM, count: int) -> dict[str, Decoder]:
    """The rows of the first table: all of them must write greedy's tokens."""

    def ours(drafter: str | Drafter | None, span: int | None = None) -> Decoder:
        return lambda prompt, seed: Outcome.of(speculate(lm, prompt, drafter, count, span))

    def theirs(**options: object) -> Decoder:
        return lambda prompt, seed: Outcome(**peers.generate(lm, prompt, count, **options))

    rows: dict[str, Decoder] = {
        "greedy, no cache": lambda prompt, seed: Outcome.of(run_greedy(lm, prompt, count)),
        GREEDY: ours(None),
        GENERATE: theirs(),
        "Medusa-tiny": lambda prompt, seed: Outcome.of(medusa_tiny(lm, prompt, count)),
        "self-draft, one pass": ours("self"),
        NGRAM: ours("ngram"),
        "transformers prompt lookup": theirs(prompt_lookup_num_tokens=peers.LOOKUP_TOKENS),
    }
    if draft_fits(lm):
        rows[DRAFT_MODEL] = ours("draft_model")
        rows["transformers assisted"] = theirs(assistant_model=draft_lm(lm).model)
    trees = takes_masks(State.start(lm, []))
    if lm.model.config.model_type in FAMILIES:
        rows[EARLY_EXIT] = ours("early_exit")
    if trees:
        rows[BRANCHES] = ours("branches")
        rows[LOOKAHEAD] = ours("lookahead")
    if heads_fit(lm):
        rows[CHAIN] = ours("heads_chain")
        rows[SHORT_CHAIN] = ours("heads_chain", SHORT)
    if heads_fit(lm) and trees:
        heads, _ = shipped_heads(lm)
        rows[TREE] = ours("heads_tree")
        rows[HEADS_AND_NGRAM] = ours("heads_ngram")
        rows[LARGE_TREE] = ours(HeadsDrafter(heads, heads.trees[LARGE]))
    return rows


def sampling_decoders(lm: LM, count: int) -> dict[str, Decoder]:
    """The rows of the second table: all but the typical one sample the same distribution."""

    def ours(drafter: str | None, **more: object) -> Decoder:
        knobs = {"max_new_tokens": count, "temperature": TEMPERATURE, **more}
        return lambda prompt, seed: Outcome.of(speculate(lm, prompt, drafter, seed=seed, **knobs))

    rows = {PLAIN_SAMPLING: ours(None), "self-draft": ours("self"), NGRAM: ours("ngram")}
    if draft_fits(lm):
        rows[DRAFT_MODEL] = ours("draft_model")
    if heads_fit(lm):
        rows[SHORTEST_CHAIN] = ours("heads_chain", span=SHORTEST)
        rows[TREE] = ours("heads_tree")
        rows[TYPICAL] = ours("heads_tree", typical=Typical())
    return rows
