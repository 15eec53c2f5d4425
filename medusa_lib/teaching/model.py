"""STEP1's room: the parts of a model, counted and drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Positive
from medusa_lib.teaching.shared.style import BLUE, ORANGE, axes_for, open_frame


def parameter_parts(model: PreTrainedModel) -> dict[str, int]:
    """Number of parameters in each part of a model; a part that is shared counts once.

    Parts: token embeddings, position embeddings where there are any, each block, output.
    """
    table, parts = model.get_input_embeddings().weight, {}
    for name, values in model.named_parameters():
        block = re.search(r"\.(?:h|layers|blocks)\.(\d+)\.", name)
        if values is table:
            part = "token embeddings"
        elif block:
            part = f"block {int(block[1]) + 1}"
        else:
            part = "position embeddings" if re.search("wpe|embed_pos", name) else "output"
        parts[part] = parts.get(part, 0) + values.numel()
    return parts


@checked
def parts_of_shape(
    vocabulary: Positive, places: Positive, width: Positive, blocks: Positive
) -> dict[str, int]:
    """`parameter_parts` of a model of GPT-2's kind, which is not made: only its shape is.

    vocabulary: tokens. places: the most tokens of a text. width: numbers for each token.
    """
    shape = {"vocab_size": vocabulary, "n_positions": places, "n_embd": width, "n_layer": blocks}
    ends = {"bos_token_id": None, "eos_token_id": None}  # no special tokens
    with torch.device("meta"):  # shapes without numbers
        return parameter_parts(GPT2LMHeadModel(GPT2Config(**shape, n_head=1, **ends)))


def plot_parameters(parts: Mapping[str, int], ax: Axes | None = None) -> Axes:
    """Bars of the number of parameters in each part of a model, first part on top."""
    ax = axes_for(ax, (6.4, 0.35 * len(parts) + 0.9))
    rows, counts = np.arange(len(parts)), list(parts.values())
    colours = [BLUE if part.startswith("block") else ORANGE for part in parts]
    ax.barh(rows, counts, color=colours)
    for row, count in zip(rows, counts, strict=True):
        ax.text(count, row, f" {count:,} ({count / sum(counts):.0%})", va="center", fontsize=8)
    ax.set_yticks(rows, list(parts))
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.35 * max(counts)), xlabel="parameters")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    return open_frame(ax)
