"""The model card: `README.md` beside the weights, every number in it from `figures.json`.

`python -m medusa_lib.training.card FOLDER` writes it anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path

from medusa_lib.base.config import DRAFT_MODEL, SHIPPED_MODEL
from medusa_lib.base.tables import md_table
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import run_greedy, start_ids
from medusa_lib.steps.model import LM, ModelLoadError, load_lm
from medusa_lib.steps.sampling import sample_next
from medusa_lib.steps.utilities import append_token, decode
from medusa_lib.training.recipe import Recipe

PROMPTS = (
    "In a distant future, ",
    "Once upon a time there was a king who",
    "The children ran down to the river, and there",
)
NEW_TOKENS = 48
TEMPERATURE, TOP_P, SEED = 0.8, 0.95, 7
CURVE_ROWS = 12
RECIPE_WORDS = {
    "layers": "transformer blocks",
    "width": "numbers in a token's vector",
    "heads": "attention heads a block",
    "context": "tokens the model can look back on",
    "vocab_size": "tokens of the byte-level BPE",
    "epochs": "passes over the books",
    "batch": "windows of one context a step",
    "lr": "highest learning rate",
    "warmup": "steps of linear warm-up, before linear decay to zero",
    "weight_decay": "of matrices and tables, none of biases and norms",
    "clip": "largest norm of the gradient",
    "space_split": "share of words split from their leading space",
    "seed": "of weights, window order and splits",
}
HEAD = """\
---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
tags:
- gpt2
- text-generation
- children's books
- speculative decoding
- teaching
---
"""
ABOUT = """\
# {name}

A language model of {millions:.1f} million parameters that writes in the manner of old children's
books. {role} It is a means of teaching and is good for nothing else: it knows no facts,
follows no instructions, and should not be shown to children unread.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
```

The weights are stored in half precision and meant to be computed in float32. `<|endoftext|>`
ends a tale and may start one.
"""
ROLE = """\
It is the model of a course on draft-and-verify decoding: small enough to ship with the
lessons and to answer a slider at once on any computer, fluent enough to be fun."""
DRAFT_ROLE = f"""\
It is the draft model of a course on draft-and-verify decoding: it has the tokens of
{SHIPPED_MODEL.title()}, the model of the course, and guesses cheaply what that one will write. Made
by the same command from the same books, with fewer and narrower layers."""
CLEANING = """\
Cleaning (`books.py`): Project Gutenberg's headers, footers and licences are cut off, and so are
tables of contents, headings, credits, and marks of illustrations, footnotes and italics.
Hard-wrapped lines are joined into one line a paragraph, verse keeps its lines, quotes are made
straight and dashes `--`. A heading ends a tale; the end of a tale is the token `<|endoftext|>`.
Advertisements and scholarly notes (many figures, few finished sentences) are dropped.
"""
SPLIT = """\
**A prompt that ends in a space.** In this tokenizer a space belongs to the word after it, so books
never contain the token of a lone space, and a model that never saw it answers such a prompt with
noise. Therefore {share:.0%} of the words, chosen anew in each epoch, were split into a lone space
and the word without it. It is a patch: after a lone space the model has seen fewer examples, and
writes less well than without one.
"""
LIMITS = """\
- It is small. It keeps to grammar and tone for a sentence or two, not to a plot, nor to facts.
- Under greedy decoding it soon repeats itself, as small models do; sampling helps.
- Its books were written long ago, most of them for British and American readers. Their views of
  peoples, women, animals and punishment are old-fashioned and sometimes offensive, and the model
  repeats them. Nothing was filtered out.
- It reads and writes English prose in straight quotes only. Other scripts cost a token a byte, and
  it has learned nothing of them.
- It looks back on {context} tokens at most.
"""
LICENCE = """\
The weights, the tokenizer and this card are under the MIT licence. The books are in the public
domain in the United States of America; elsewhere, see to your own law. Their texts, as Project
Gutenberg published them, are no part of this folder.
"""


def sampled_text(lm: LM, prompt: str) -> str:
    """The prompt and its seeded continuation, up to NEW_TOKENS tokens or EOS."""
    generator = make_generator(SEED)
    ids = start_ids(lm, prompt)
    end = min(ids.shape[1] + NEW_TOKENS, lm.context_length)
    while ids.shape[1] < end:
        token = sample_next(lm, ids, TEMPERATURE, TOP_P, generator=generator)
        if lm.is_end(token):
            break
        ids = append_token(ids, token)
    return decode(lm, ids)


def quoted(text: str) -> str:
    """Text as an indented code block, so that nothing in it is read as Markdown."""
    lines = (line for part in text.splitlines() for line in textwrap.wrap(part, 88) or [""])
    return textwrap.indent("\n".join(lines), "    ", lambda line: True)


def samples(lm: LM) -> str:
    """Greedy and sampled texts of each prompt, as Markdown."""
    parts = []
    for prompt in PROMPTS:
        greedy = run_greedy(lm, prompt, NEW_TOKENS).text
        parts += [f"`{prompt}`, greedy:", quoted(greedy)]
        parts += [f"`{prompt}`, sampled:", quoted(sampled_text(lm, prompt))]
    return "\n\n".join(parts)


def book_table(figures: dict) -> str:
    """Every book, by ebook number and title, with its part."""
    trained = set(figures["training_books"])
    rows = [
        (f"[{number}](https://www.gutenberg.org/ebooks/{number})", title, part)
        for number, title in figures["books"].items()
        for part in ["training" if int(number) in trained else "**held out**"]
    ]
    return md_table(["ebook", "title", "part"], rows)


def score_table(figures: dict) -> str:
    """Nats per token and bits per byte of each held-out book, and over all of them."""
    scores = {figures["books"][n]: score for n, score in figures["held_out"].items()}
    scores["**together**"] = figures["held_out_together"]
    rows = [
        (
            title,
            f"{score['tokens']:,}",
            f"{score['bytes']:,}",
            f"{score['nats_per_token']:.3f}",
            f"{score['bits_per_byte']:.3f}",
        )
        for title, score in scores.items()
    ]
    return md_table(["held-out book", "tokens", "bytes", "nats per token", "bits per byte"], rows)


def curve_table(figures: dict) -> str:
    """About CURVE_ROWS points of the run, evenly spread, the last one among them."""
    history = figures["history"]
    gap = max(1, -(-len(history) // CURVE_ROWS))
    tokens = figures["tokens_seen"] // figures["steps"]
    rows = [
        (
            record["step"],
            f"{record['step'] * tokens / 1e6:.1f}",
            f"{record['loss']:.3f}",
            f"{record['held_out_bits_per_byte']:.3f}",
        )
        for record in history[::-gap][::-1]
    ]
    return md_table(["step", "million tokens", "training loss", "held out (start)"], rows)


def command(recipe: dict) -> str:
    """The command that makes these weights: what differs from the default recipe is spelt out."""
    default = Recipe().as_dict()
    changed = [
        f" --{name.replace('_', '-')} {value}"
        for name, value in recipe.items()
        if value != default[name]
    ]
    return "python -m medusa_lib.training.train --corpus BOOKS --out FOLDER" + "".join(changed)


def data_section(figures: dict) -> str:
    """What the model read, and what it did not."""
    trained, size = len(figures["training_books"]), figures["training_bytes"] / 1e6
    named = " and ".join(f"*{figures['books'][n]}* (ebook {n})" for n in figures["held_out"])
    return (
        f"{trained} public-domain children's books in English from Project Gutenberg: "
        f"{figures['training_tales']:,} tales and chapters, {size:.1f} MB after cleaning. "
        f"Held out whole, never seen in training: {named}.\n\n{CLEANING}\n{book_table(figures)}"
    )


def recipe_section(figures: dict) -> str:
    """How the weights were made, field by field."""
    recipe = figures["recipe"]
    rows = [(f"`{name}`", value, RECIPE_WORDS[name]) for name, value in recipe.items()]
    return (
        "GPT-2's architecture, trained from random weights to predict the next token; no dropout. "
        "Muon for the matrices inside the blocks, AdamW for all else; weights in float32, "
        "products in bfloat16 where the processor has it.\n\n"
        f"{md_table(['field', 'value', 'is'], rows)}\n\n{SPLIT.format(share=recipe['space_split'])}"
    )


def figures_section(figures: dict) -> str:
    """How well the weights of this folder predict, and what they cost."""
    least = figures["recipe"]["context"] - figures["recipe"]["context"] // 2
    return (
        f"{score_table(figures)}\n\n"
        "Computed in float32 from the half-precision weights of this folder. Each token is "
        f"predicted from at least {least} tokens before it, where the book has them; ends of tales "
        "count as tokens and not as bytes.\n\n"
        f"Trained on {figures['tokens_seen'] / 1e6:.1f} million tokens in {figures['steps']:,} "
        f"steps: {figures['hours']:.2f} hours in all, {figures['training_flop'] / 1e15:.3g} "
        "× 10¹⁵ floating-point operations on any hardware (6 per parameter and token).\n\n"
        f"{curve_table(figures)}\n\n"
        "Training loss: nats per token of that step's batch. Held out (start): mean bits per byte "
        "over the first two chapters of each held-out book."
    )


def sample_section(lm: LM) -> str:
    """What the model writes, greedy and sampled."""
    return (
        f"At most {NEW_TOKENS} new tokens; sampled ones at temperature {TEMPERATURE}, "
        f"top-p {TOP_P}, seed {SEED}. Not chosen: the first that came.\n\n{samples(lm)}"
    )


def reproduce_section(figures: dict) -> str:
    """The one command from books to this folder."""
    return (
        "Save the books above as `pgN.txt` (N: the ebook number; the plain UTF-8 text) in a folder "
        f"BOOKS, then:\n\n```\n{command(figures['recipe'])}\n```\n\n"
        "A run that is stopped goes on where it was when the command is given again. On the same "
        "machine the same seed gives the same weights; on another one the last digits differ."
    )


def write_card(folder: Path, notes: str = "") -> None:
    """Write `README.md` into a model's folder from its `figures.json` and weights.

    notes: Markdown for a section "What we tried". Raises ModelLoadError for missing weights,
    OSError for missing figures.
    """
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    lm = load_lm(str(folder.resolve()), device="cpu")
    name = folder.resolve().name
    about = ABOUT.format(
        name=name.title(),
        millions=figures["parameters"] / 1e6,
        role=DRAFT_ROLE if name == DRAFT_MODEL else ROLE,
    )
    sections = {
        "Data": data_section(figures),
        "Recipe": recipe_section(figures),
        "Figures": figures_section(figures),
        "What we tried": notes.strip(),
        "Sample texts": sample_section(lm),
        "Limits": LIMITS.format(context=lm.context_length),
        "Licence": LICENCE,
        "How to make it again": reproduce_section(figures),
    }
    body = [f"## {title}\n\n{text.strip()}\n" for title, text in sections.items() if text]
    (folder / "README.md").write_text("\n".join([HEAD + about, *body]), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Write a card anew: the folder, and a file of notes if there is one."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.training.card")
    parser.add_argument("folder", type=Path, help="a model's folder with its figures.json")
    parser.add_argument("--notes", type=Path, help="Markdown file: what was tried")
    args = parser.parse_args(argv)
    try:
        write_card(args.folder, args.notes.read_text(encoding="utf-8") if args.notes else "")
    except (OSError, ModelLoadError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
