"""BEYOND5's room: what heads guess, how often they are right, and the panel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Positive, Prompt
from medusa_lib.beyond.heads_files import heads_folder, shipped_heads
from medusa_lib.beyond.heads_training import Examples, Texts, examples_of, joined, read_texts
from medusa_lib.beyond.medusa_heads import MedusaHeads
from medusa_lib.beyond.speculative import speculate
from medusa_lib.demo import PROMPT
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import decode
from medusa_lib.teaching.shared.controls import observe, slider
from medusa_lib.teaching.shared.html import mark_html, says_html, table_html, token_texts
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    axes_for,
    name_lines,
    open_frame,
    series_look,
)


@torch.no_grad()
def greedy_examples(lm: LM, prompts: Sequence[str], new_tokens: int, count: int) -> Examples:
    """Examples from what the model writes greedily after each prompt, one text at a time."""
    parts, output = [], lm.model.get_output_embeddings()
    for prompt in prompts:
        run = speculate(lm, prompt, None, new_tokens)
        ids = torch.tensor([[*run.prompt_ids, *run.new_ids]])
        hidden = lm.model.base_model(input_ids=ids.to(lm.device), use_cache=False)[0]
        choices = output(hidden).argmax(dim=-1).cpu()
        parts.append(examples_of(Texts(ids, hidden.cpu(), choices, len(run.prompt_ids)), count))
    return joined(parts)


def shipped_figures(lm: LM) -> dict:
    """What was measured on the shipped heads of `lm` when they were made: its `figures.json`."""
    return json.loads((heads_folder(lm) / "figures.json").read_text(encoding="utf-8"))


def plot_top_guesses(tops: Mapping[str, Sequence[Sequence[float]]], ax: Axes | None = None) -> Axes:
    """How often the right token is among a head's best 1, 2, … guesses, for each kind of text.

    tops: name → a row for each head. The line is the mean of the heads, the band all of them.
    """
    ax = axes_for(ax, (6.4, 3.2))
    for i, (name, top) in enumerate(tops.items()):
        columns = list(zip(*top, strict=True))
        at, look = range(1, len(columns) + 1), series_look(i)
        ax.plot(at, [sum(column) / len(column) for column in columns], label=name, **look)
        ends = [min(column) for column in columns], [max(column) for column in columns]
        ax.fill_between(at, *ends, color=look["color"], alpha=0.25, linewidth=0)
    ax.set_xticks(range(1, len(columns) + 1))
    ax.set(xlabel="guesses that count", ylabel="right token among them", ylim=(0, 1))
    name_lines(ax)
    return open_frame(ax)


@dataclass(frozen=True)
class Guesses:
    """What heads say at one place of a greedy text, each told the best guess of the one before.

    best, second: a token id for each head. wrote: what the model wrote there.
    """

    best: tuple[int, ...]
    second: tuple[int, ...]
    wrote: tuple[int, ...]

    @property
    def held(self) -> int:
        """How many of the best guesses verification would keep, from the first on."""
        hits = [a == b for a, b in zip(self.best, self.wrote, strict=True)]
        return (*hits, False).index(False)


@torch.inference_mode()
def guesses_of(heads: MedusaHeads, hidden: torch.Tensor, ids: Sequence[int]) -> Guesses:
    """The guesses of as many heads as `ids` has tokens beyond the first.

    hidden: `[width]`, at the place before ids[0], which the model chose from it.
    """
    first = before = hidden[None].float()
    token, ranked = ids[0], []
    for head in range(len(ids) - 1):
        before = heads.step(head, first, before, torch.tensor([token]))
        ranked.append(heads.vocab[heads.out(before)[0].topk(2).indices].tolist())
        token = ranked[-1][0]
    best, second = zip(*ranked, strict=True)
    return Guesses(best, second, tuple(ids[1:]))


def guesses_words(guesses: Guesses) -> str:
    """What one loop would make of these guesses, as one line."""
    held, count = guesses.held, len(guesses.best)
    plural = "s" if held else ""
    return f"{held} of {count} guesses hold: the next pass writes {held + 1} token{plural}"


GUESSES_HEAD = ("head", "best guess", "second guess", "the model writes", "")


def guesses_rows(lm: LM, guesses: Guesses) -> list[list[str]]:
    """`Guesses` as rows of text, one for each head, in the order of GUESSES_HEAD."""
    rows = []
    columns = zip(guesses.best, guesses.second, guesses.wrote, strict=True)
    for head, (best, second, wrote) in enumerate(columns, start=1):
        says = "holds" if head <= guesses.held else "second holds" if second == wrote else "wrong"
        says = "after a wrong one" if head > guesses.held + 1 else says
        rows.append([f"head {head}", *map(repr, token_texts(lm, [best, second, wrote])), says])
    return rows


class GuessesPanel(Panel):
    """BEYOND5: a place in a greedy text and a number of heads, over what those heads guess."""

    grid: ClassVar[Grid] = {
        "place": ...,
        "count": ...,
    }

    @checked
    def __init__(
        self, lm: LM, prompt: Prompt = PROMPT, tokens: Positive = 48, place: int = 0
    ) -> None:
        self.lm, (self.heads, _) = lm, shipped_heads(lm)
        self.texts = read_greedily(lm, prompt, tokens)
        most = self.heads.shape.count
        last = self.texts.ids.shape[1] - self.texts.start - most - 1
        self.place, self.count = slider("place", place, 0, last), slider("heads", most, 1, most)
        super().__init__([self.place, self.count], height="300px")
        observe(self.update, self.place, self.count)
        self.update()
        self.says = (
            f"Panel: sliders for the place in the text after {prompt!r} and the number of heads, "
            f"over what each head guesses. At place {place} {guesses_words(self.current())}"
        )

    def current(self) -> Guesses:
        """What the heads guess at the sliders' values."""
        at = self.texts.start + self.place.value
        ids = self.texts.ids[0, at : at + self.count.value + 1].tolist()
        return guesses_of(self.heads, self.texts.hidden[0, at - 1], ids)

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the verdict in words, the text with the guesses marked, then a row a head."""
        guesses, end = self.current(), self.texts.start + self.place.value + 1
        kinds = ["accepted"] * guesses.held + ["corrected"] + ["unused"] * len(guesses.best)
        texts = token_texts(self.lm, guesses.best)
        marks = "".join(mark_html(*one) for one in zip(texts, kinds, strict=False))
        text = mark_html(decode(self.lm, self.texts.ids[:, :end]), "greedy")
        rows = table_html(GUESSES_HEAD, guesses_rows(self.lm, guesses))
        return says_html(guesses_words(guesses)) + f"<p>{text}{marks}</p>" + rows


def read_greedily(lm: LM, prompt: str, tokens: int) -> Texts:
    """The text that the model writes greedily after a prompt, with its hidden states."""
    run = speculate(lm, prompt, None, tokens)
    texts = read_texts(lm, torch.tensor([[*run.prompt_ids, *run.new_ids]]))
    return replace(texts, start=len(run.prompt_ids))
