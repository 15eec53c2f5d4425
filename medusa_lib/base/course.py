"""The lessons of the course, in order: where each is, and the word that all its files bear."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """One notebook. A newcomer who knows its word finds its files on every floor.

    name: such as "STEP3". word: such as "sampling". module: of the code that it teaches, from
    `medusa_lib` on. learn: what a learner takes away, in a few words.
    """

    name: str
    word: str
    module: str
    learn: str

    @property
    def number(self) -> int:
        """Its place among the steps, from 0, or among the lessons beyond, from 1."""
        return int(self.name.strip("STEPBYOND"))

    @property
    def notebook(self) -> str:
        """The path of its notebook, from the folder `notebooks` on."""
        folder = "beyond/" if self.name.startswith("BEYOND") else ""
        return f"{folder}{self.name}_{self.word}.ipynb"

    @property
    def file(self) -> str:
        """The path of the code that it teaches, from the top of the project on."""
        return f"medusa_lib/{self.module.replace('.', '/')}.py"


def _lessons(kind: str, first: int, *rows: tuple[str, str, str]) -> tuple[Lesson, ...]:
    return tuple(
        Lesson(f"{kind}{i}", word, module, learn)
        for i, (word, module, learn) in enumerate(rows, start=first)
    )


STEPS = _lessons(
    "STEP",
    0,
    ("device", "steps.device", "where the model computes; seeds"),
    ("model", "steps.model", "tokenizer and model, EOS and PAD"),
    ("utilities", "steps.utilities", "text to tokens and back, one forward pass"),
    ("sampling", "steps.sampling", "temperature, nucleus (top-p), one seeded draw"),
    ("drafter", "steps.drafter", "draft a branch of tokens"),
    ("prefix_accept", "steps.prefix_accept", "accept what greedy agrees with, correct the rest"),
    ("loops", "steps.loops", "the whole loop, its acceptance and its true cost"),
    ("demo", "demo", "all decoders side by side in one panel"),
)
BEYOND = _lessons(
    "BEYOND",
    1,
    (
        "one_pass",
        "beyond.one_pass",
        "a KV cache, a branch verified in one pass, the bonus token, and what verification costs",
    ),
    ("drafters", "beyond.drafters", "cheap drafters, and what they should and do gain"),
    (
        "sampling_exactly",
        "beyond.sampling_exactly",
        "the same at a temperature, without changing the distribution",
    ),
    (
        "medusa_heads",
        "beyond.medusa_heads",
        "heads on the model itself, trained while you watch, that guess several tokens ahead",
    ),
    ("tree_attention", "beyond.tree_attention", "many branches as a tree, verified in one pass"),
    ("formulas", "measure.formulas", "what drafting should gain, and where the formula errs"),
    ("heads_training", "beyond.heads_training", "how heads learn from the model's own texts"),
    ("typical", "beyond.typical", "typical acceptance: faster, and not exact"),
    (
        "batches",
        "measure.batches",
        "many users in one pass: what it costs, the KV cache, and where drafting stops paying",
    ),
    ("systems", "measure.systems", "the course's words in real systems"),
    ("numbers", "measure.numbers", "why passes differ in the last bits, and what that costs"),
    ("family", "beyond.family", "lookahead, early exit and the other relatives"),
    (
        "choosing",
        "measure.choosing",
        "which way to decode for which task, with a planner for any machine",
    ),
)
LESSONS = (*STEPS, *BEYOND)
STEP_WORDS = tuple(lesson.word for lesson in STEPS)
BEYOND_WORDS = tuple(lesson.word for lesson in BEYOND)
