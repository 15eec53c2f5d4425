"""From trained weights to the model's folder: safetensors, tokenizer, figures and card."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from medusa_lib.training.books import Book
from medusa_lib.training.card import write_card
from medusa_lib.training.checkpoint import TrainingState
from medusa_lib.training.recipe import Recipe
from medusa_lib.training.score import Score, held_out_loss, pooled

FIGURES = "figures.json"


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Transformers' bars off, for files that take no time; its warnings stay on."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def save_half(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write float16 safetensors, config and tokenizer into `out`; `model` stays as it is."""
    half = GPT2LMHeadModel(model.config)
    half.load_state_dict(model.state_dict())
    with no_progress_bars():
        half.half().save_pretrained(out)
        tokenizer.save_pretrained(out)


def score_files(
    folder: Path, tokenizer: PreTrainedTokenizerFast, books: Sequence[Book]
) -> tuple[int, dict[str, Score]]:
    """Parameters and the score of each book, of the rounded weights in `folder` as float32."""
    with no_progress_bars():
        model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    scores = {str(book.number): held_out_loss(model, tokenizer, book) for book in books}
    return sum(p.numel() for p in model.parameters()), scores


def export(
    state: TrainingState,
    tokenizer: PreTrainedTokenizerFast,
    books: Sequence[Book],
    recipe: Recipe,
    out: Path,
    notes: str = "",
) -> dict:
    """Write model, tokenizer, `figures.json` and `README.md` into `out`; return the figures.

    books: those trained on and those held out. notes: Markdown for the card.
    """
    save_half(state.model, tokenizer, out)
    held_out = [book for book in books if book.held_out]
    training = [book for book in books if not book.held_out]
    tales = [tale for book in training for tale in book.tales]
    parameters, scores = score_files(out, tokenizer, held_out)
    tokens_seen = state.step * recipe.tokens_per_step
    figures = {
        "recipe": recipe.as_dict(),
        "parameters": parameters,
        "books": {str(book.number): book.title for book in books},
        "training_books": [book.number for book in training],
        "training_tales": len(tales),
        "training_bytes": sum(len(tale.encode()) for tale in tales),
        "steps": state.step,
        "tokens_seen": tokens_seen,
        # Kaplan et al. 2020: 6 floating-point operations per parameter and token.
        "training_flop": 6 * parameters * tokens_seen,
        "hours": state.seconds / 3600,
        "held_out": scores,
        "held_out_together": pooled(list(scores.values())),
        "history": state.history,
    }
    (out / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    write_card(out, notes)
    return figures
