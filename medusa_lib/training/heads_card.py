"""The card of trained heads: `README.md` beside them, every number in it from `figures.json`.

`python -m medusa_lib.training.heads_card FOLDER` writes it anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from medusa_lib.base.tables import md_table
from medusa_lib.beyond.heads_training import SOFT, TEMPERATURES
from medusa_lib.training.card import CURVE_ROWS

# Top-1 of the published heads for Vicuna-7B, one logged training batch of the original.
PUBLISHED = (0.560, 0.316, 0.201, 0.147, 0.118)
WORDS = {
    "kind": "medusa: blocks that see the hidden states; hydra: also the token drafted before",
    "count": "heads, K",
    "inner": "numbers between the two layers of hydra's block",
    "words": "tokens that the heads can guess, the model's most frequent ones",
    "tokens": "that the model wrote to train on",
    "new_tokens": "of each text that it wrote",
    "book_share": "part of the texts that is the books' own",
    "steps": "of training",
    "batch": "examples a step",
    "lr": "highest learning rate of the blocks",
    "seed": "of prompts, texts, weights and order",
}
ABOUT = """\
# Heads for {model}

{millions:.2f} million parameters that draft for the course's model: from its last hidden states
they guess the next {count} tokens after the one that it has just chosen. See
`medusa_lib/beyond/medusa_heads.py` and the lesson BEYOND5. They fit {model} only and are of no use
without it. Stored in half precision, computed in float32.

```python
from medusa_lib import load_lm, speculate

print(speculate(load_lm(), "Once upon a time", "heads_tree"))
```
"""


def accuracy_section(figures: dict) -> str:
    """Top-1 to top-5 of each head on each kind of text, and the paper's figures."""
    parts = [
        "## Accuracy\n\nHow often the right token is among a head's best 1 to 5 guesses, on "
        "prompts that were not trained on. A head of kind hydra is told the true tokens before "
        "its guess; it is asked only if those were accepted.\n"
    ]
    labels = {
        "own text": "Against the model's own greedy continuation, as decoding asks it",
        "book text": "Against the next words of held-out books",
    }
    for name, rows in figures["top_accuracy"].items():
        head = ("head", *(f"top {n}" for n in range(1, 6)))
        body = [(k, *(f"{value:.3f}" for value in row)) for k, row in enumerate(rows, start=1)]
        parts.append(f"{labels[name]}:\n\n{md_table(head, body)}\n")
    published = ", ".join(f"{value:.3f}" for value in PUBLISHED)
    parts.append(
        "For comparison, top 1 of the heads published for Vicuna-7B (Cai et al. 2024), which see "
        f"no drafted token: {published}.\n"
    )
    return "\n".join(parts)


def budget_section(figures: dict) -> str:
    """Trees of several sizes, measured when the heads were made."""
    head = ("nodes", "depth", "τ", "tokens/s", "÷ cached greedy")
    body = [
        (
            row["nodes"],
            row["depth"],
            f"{row['tau']:.2f}",
            f"{row['tokens_per_second']:.0f}",
            f"{row['over_greedy']:.2f}",
        )
        for row in figures["budgets"]
    ]
    return (
        "## Trees\n\nTrees grown by the measured joint acceptance, each timed on the machine "
        f"that trained the heads. The fastest of them, of {figures['best_budget']} nodes, is "
        "stored beside the heads. The drafter `heads_tree` uses none of them: it grows a tree "
        "anew in each loop, where the heads are sure.\n\n"
        f"{md_table(head, body)}\n"
    )


def plans(history: list[dict]) -> str:
    """A sentence for each time that a run was made shorter or longer, or nothing."""
    said = ""
    for before, row in itertools.pairwise(history):
        if "of" in before and before["of"] != row["of"]:
            said += (
                f"Up to step {before['step']:,} the run was one of {before['of']:,} steps; then it "
                f"was made one of {row['of']:,}, and the learning rate followed.\n\n"
            )
    return said


def heads_recipe_section(figures: dict) -> str:
    """How the heads were made, and how they learned."""
    recipe = figures["recipe"]
    body = [(name, value, WORDS[name]) for name, value in recipe.items()]
    history = figures["history"]
    books = "book text" in figures["top_accuracy"]
    heats = " and ".join(map(str, sorted({*TEMPERATURES} - {0.0})))
    after = "beginnings of sentences of the books" if books else "openings of its own"
    every = max(1, len(history) // CURVE_ROWS)
    rows = [*history[:-1:every], history[-1]]
    curve = [
        (row["step"], f"{row['loss']:.2f}", " ".join(f"{value:.3f}" for value in row["right"]))
        for row in rows
    ]
    return (
        "## Recipe\n\n"
        "The model is frozen (Medusa-1). It wrote the texts itself, half of them greedily and "
        f"half at temperatures {heats}, after {after}. At each place the heads learn the model's "
        "own distribution among their words, both as it is at temperature "
        f"{SOFT[0]} and at {SOFT[1]}, where almost only its most probable token counts. "
        f"Repetitions are left out: {figures['examples']:,} examples remain. Products in training "
        f"were computed in {figures['precision']}.\n\n"
        f"{md_table(('field', 'value', 'meaning'), body)}\n\n"
        f"{plans(history)}"
        f"{md_table(('step', 'loss, nats', 'top 1 of each head on held-out own text'), curve)}\n\n"
        "```bash\npython -m medusa_lib.training.train_heads "
        f"{'--corpus BOOKS ' if books else ''}--out FOLDER\n```\n"
    )


def write_heads_card(folder: Path) -> None:
    """Write `README.md` into `folder` from its `figures.json`."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    about = ABOUT.format(
        model=figures["model"],
        millions=figures["parameters"] / 1e6,
        count=figures["recipe"]["count"],
    )
    parts = (
        about,
        accuracy_section(figures),
        budget_section(figures),
        heads_recipe_section(figures),
    )
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Write the card of the heads in a folder."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.training.heads_card")
    parser.add_argument("folder", type=Path)
    try:
        write_heads_card(parser.parse_args(argv).folder)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
