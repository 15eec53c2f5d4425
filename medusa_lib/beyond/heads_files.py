"""Heads on disk: saved, loaded, and the shipped ones of a model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medusa_lib.base.checks import checked
from medusa_lib.base.config import default_model_id, shipped_folder
from medusa_lib.base.words import Node
from medusa_lib.beyond.medusa_heads import (
    HeadsError,
    HeadsShape,
    MedusaHeads,
    check_nodes,
    model_parts,
    new_heads,
)
from medusa_lib.steps.model import LM

HEADS_FILE, SETTINGS_FILE = "heads.safetensors", "heads.json"
BROKEN = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError)
HEADS_VARIABLE = "MEDUSA_HEADS"  # of the environment: the folder of a model's heads
HEADS_FOLDERS = {"bookworm": "bookworm_heads"}  # shipped model → its shipped heads


def probe(lm: LM) -> torch.Tensor:
    """A few numbers of a model's output layer, by which heads know the model they belong to."""
    output = model_parts(lm)[1].flatten().cpu()
    return output[:: max(1, len(output) // 256)][:256].clone()


def save_heads(heads: MedusaHeads, lm: LM, nodes: Sequence[Node], folder: Path) -> None:
    """Write heads in half precision, their settings, the tree that suits them best and others.

    Raises HeadsError for numbers that half precision cannot hold.
    """
    tensors = {name: tensor.cpu() for name, tensor in heads.state_dict().items()}
    halves = {k: v.half() if v.is_floating_point() else v.int() for k, v in tensors.items()}
    if any(not v.isfinite().all() for v in halves.values() if v.is_floating_point()):
        raise HeadsError("heads must have numbers below 65504 to be saved in half precision")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**halves, "probe": probe(lm)}, folder / HEADS_FILE)
    settings = {"shape": vars(heads.shape), "tree": nodes, "trees": heads.trees}
    (folder / SETTINGS_FILE).write_text(json.dumps(settings) + "\n", encoding="utf-8")


@checked
def use_heads(lm: LM, folder: Path | str) -> None:
    """From now on the heads of a folder are those of `lm`, as train_heads has written them there.

    "heads_chain", "heads_tree" and "heads_ngram" draft with them, in `speculate`, in the panels
    and in the bench. Raises HeadsError if they are not there or were trained for another model.
    """
    loaded = load_heads(lm, folder)
    lm.kept["heads"], lm.kept["heads folder"] = loaded, Path(folder)


def heads_folder(lm: LM) -> Path:
    """Where the heads of `lm` are: as use_heads or MEDUSA_HEADS says, else the shipped ones.

    MEDUSA_HEADS speaks of the model that MEDUSA_MODEL names, so not of a shipped one beside it.
    Raises HeadsError if it has none.
    """
    named = lm.kept.get("heads folder")
    if named is None and (lm.model_id == default_model_id() or lm.model_id not in HEADS_FOLDERS):
        named = os.environ.get(HEADS_VARIABLE)
    if named:
        return Path(named)
    if lm.model_id not in HEADS_FOLDERS:
        raise HeadsError(
            f"lm must be {' or '.join(HEADS_FOLDERS)}, which has heads, got {lm.model_id}; for "
            "another model python -m medusa_lib.training.train_heads --model MODEL --out FOLDER "
            f"trains some, and use_heads(lm, FOLDER) or {HEADS_VARIABLE}=FOLDER uses them"
        )
    return shipped_folder(HEADS_FOLDERS[lm.model_id])


def load_heads(lm: LM, folder: Path | str | None = None) -> tuple[MedusaHeads, list[Node]]:
    """Heads for `lm` and the tree that suits them; folder None: those of heads_folder.

    Raises HeadsError if there are none, or they were trained for another model.
    """
    ours = probe(lm)  # refuses a model of another family
    folder = heads_folder(lm) if folder is None else Path(folder)
    try:
        tensors = load_file(folder / HEADS_FILE)
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        theirs, vocab = tensors.pop("probe"), tensors.pop("vocab").long()
        check_same_model(theirs, ours, folder.name, lm.model_id)
        heads = new_heads(lm, HeadsShape(**settings["shape"]), vocab)
        heads.load_state_dict({**{k: v.float() for k, v in tensors.items()}, "vocab": vocab})
        heads.trees = {int(n): list(map(tuple, tree)) for n, tree in settings["trees"].items()}
        nodes = list(map(tuple, settings["tree"]))
        for tree in (nodes, *heads.trees.values()):
            check_nodes(tree, heads.shape)
        return heads.eval(), nodes
    except HeadsError:
        raise
    except (OSError, SafetensorError, *BROKEN) as error:
        lines = "a file is missing" if isinstance(error, OSError) else str(error) or repr(error)
        raise HeadsError(
            f"heads must be a folder with {HEADS_FILE} and {SETTINGS_FILE} that fit, "
            f"got {folder.name}: {lines.splitlines()[0][:120]}"
        ) from None


def shipped_heads(lm: LM) -> tuple[MedusaHeads, list[Node]]:
    """The heads of `lm`, see heads_folder, and their tree, loaded when first asked for.

    Raises HeadsError if there are none.
    """
    if "heads" not in lm.kept:
        lm.kept["heads"] = load_heads(lm)
    return lm.kept["heads"]


def check_same_model(theirs: torch.Tensor, ours: torch.Tensor, name: str, model_id: str) -> None:
    """Raises HeadsError unless two probes are of the same weights, up to half precision."""
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=0.02, atol=1e-3):
        raise HeadsError(
            f"heads must be trained for {model_id}, got {name}, those of another model"
        )


def heads_fit(lm: LM) -> bool:
    """True if there are heads for `lm`: see heads_folder."""
    try:
        return shipped_heads(lm) is not None
    except HeadsError:
        return False
