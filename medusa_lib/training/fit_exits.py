"""Fit a matrix for each early exit of a model, on text of its own: `python -m …`, see main."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from medusa_lib.beyond.early_exit import EXITS_FILE, fit_exit, kept_layers
from medusa_lib.beyond.heads_files import probe
from medusa_lib.beyond.heads_training import openings, write_texts
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.model import LM, load_lm

CARD = """# Early exits of bookworm

A matrix of {width} × {width} numbers for the first 1 to {count} layers of the course's model. It
turns what these layers say before the output layer into what all layers would say, as well as a
matrix can. See `medusa_lib/beyond/early_exit.py` and the lesson BEYOND12. They fit bookworm only.

Least squares on {tokens} tokens that the model itself wrote, in half precision:
`python -m medusa_lib.training.fit_exits --out FOLDER`
"""


def own_ids(lm: LM, texts: int = 300, length: int = 80) -> torch.Tensor:
    """Texts of the model's own `[2 · texts, 8 + length]`: half greedy, half at temperature 0.6."""
    generator, parts = make_generator(1), []
    for temperature in (0.0, 0.6):
        start = openings(lm, texts, 8, generator)
        parts.append(write_texts(lm, start, length, temperature, generator).ids)
    return torch.cat(parts)


def save_exits(lm: LM, ids: torch.Tensor, folder: Path) -> None:
    """Fit all exits of `lm` on some texts `[n, T]`, write them and their card."""
    count = lm.model.config.num_hidden_layers - 1
    matrices = {n: fit_exit(lm, kept_layers(lm, range(n)), ids) for n in range(1, count + 1)}
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {str(n): matrix.half().contiguous() for n, matrix in matrices.items()}
    save_file({**tensors, "probe": probe(lm)}, folder / EXITS_FILE)
    card = CARD.format(width=len(matrices[1]), count=count, tokens=f"{ids.numel():,}")
    (folder / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    """Takes a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bookworm")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    lm = load_lm(given.model, "cpu")
    save_exits(lm, own_ids(lm), given.out)


if __name__ == "__main__":
    main()
