"""The lessons of the course, in order: where each is, and the word that all its files bear."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote

# Where this copy of the course is published: "OWNER/NAME" on GitHub, or "" for nowhere. After a
# change `python tests/refresh.py` writes it into README's links and into each lesson's Colab cell.
REPOSITORY = ""
LAUNCHERS = {  # who runs a lesson in the browser, at which address
    "Binder": "https://mybinder.org/v2/gh/{repository}/HEAD?labpath=notebooks%2F{path}",
    "Colab": "https://colab.research.google.com/github/{repository}/blob/HEAD/notebooks/{path}",
}
PHRASES = {  # what a lesson is about, to one who knows none of its words; for STEP0's map
    "device": "why, and where the work is done",
    "model": "what a language model is made of",
    "utilities": "from text to numbers and back",
    "sampling": "let chance pick the next word",
    "drafter": "guess a few words ahead",
    "prefix_accept": "keep the guesses that hold",
    "loops": "guess, check, repeat",
    "demo": "all ways of writing, side by side",
    "one_pass": "check all guesses at once",
    "drafters": "cheap ways to guess",
    "formulas": "what guessing should gain",
    "sampling_exactly": "guess where chance picks the word",
    "medusa_heads": "a model that looks ahead itself",
    "heads_training": "teach it to look ahead better",
    "tree_attention": "many guesses, checked at once",
    "typical": "take what is good enough",
    "batches": "write for many people at once",
    "systems": "where real programs do this",
    "numbers": "when rounding changes the text",
    "family": "other ways to look ahead",
    "choosing": "which way suits your task",
}


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
    def phrase(self) -> str:
        """What it is about, in a few plain words; its own word where nobody wrote any."""
        return PHRASES.get(self.word, self.word.replace("_", " "))

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
    ("device", "steps.device", "why guess ahead; where the model computes; seeds"),
    ("model", "steps.model", "tokenizer and model, and what they are made of"),
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
    ("drafters", "beyond.drafters", "cheap drafters, how often they are right and what they cost"),
    ("formulas", "measure.formulas", "what a drafter should gain, and whether it does"),
    (
        "sampling_exactly",
        "beyond.sampling_exactly",
        "the same at a temperature, without changing the distribution",
    ),
    (
        "medusa_heads",
        "beyond.medusa_heads",
        "heads on the model itself that guess several tokens ahead without a pass of their own",
    ),
    (
        "heads_training",
        "beyond.heads_training",
        "loss and steps of training; heads that learn while you watch",
    ),
    ("tree_attention", "beyond.tree_attention", "many branches as a tree, verified in one pass"),
    ("typical", "beyond.typical", "taking what is likely enough: what it buys and what it costs"),
    (
        "batches",
        "measure.batches",
        "many users in one pass: what it costs, the KV cache, and where drafting stops paying",
    ),
    (
        "systems",
        "measure.systems",
        "the course's words as settings of five real systems, and what these promise",
    ),
    (
        "numbers",
        "measure.numbers",
        "why two passes over one text differ, when a token flips, and what exactness costs",
    ),
    (
        "family",
        "beyond.family",
        "lookahead decoding and early exit, built and measured beside their relatives",
    ),
    (
        "choosing",
        "measure.choosing",
        "which way to decode for which task, with a planner for any machine",
    ),
)
LESSONS = (*STEPS, *BEYOND)
STEP_WORDS = tuple(lesson.word for lesson in STEPS)
BEYOND_WORDS = tuple(lesson.word for lesson in BEYOND)


def published_at() -> str:
    """OWNER/NAME of the repository: the setting above, else what GitHub's machines say, or ""."""
    return REPOSITORY or os.environ.get("GITHUB_REPOSITORY", "")


def launch_links(lesson: Lesson, repository: str) -> dict[str, str]:
    """Where a lesson runs in the browser with nothing installed: "Binder" and "Colab" → address.

    repository: OWNER/NAME on GitHub, such as `published_at()`. Raises ValueError if it is not that.
    """
    if not isinstance(repository, str) or not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.A):
        raise ValueError(f"repository must be OWNER/NAME on GitHub, got {repository!r}")
    paths = {"Binder": quote(lesson.notebook, safe=""), "Colab": lesson.notebook}
    return {
        name: address.format(repository=repository, path=paths[name])
        for name, address in LAUNCHERS.items()
    }
