"""Early exit: the model drafts for itself with some of its layers, and verifies with all.

After Draft & Verify (Zhang et al. 2023), which leaves layers out, and LayerSkip (Elhoushi et al.
2024), which stops after the first ones. The layers that are kept are the model's own: no weight
is copied or trained. What the last kept layer says was never meant for the output layer, and one
small matrix may translate it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from safetensors.torch import load_file
from torch import nn

from medusa_lib.base.checks import check_tokens, checked
from medusa_lib.base.config import shipped_folder
from medusa_lib.base.words import Generator, Temperature, TopP
from medusa_lib.beyond.drafters import ModelDrafter
from medusa_lib.beyond.heads_files import probe
from medusa_lib.beyond.one_pass import FAMILIES
from medusa_lib.engine.twin import version_of
from medusa_lib.steps.model import LM

BLOCKS = {"gpt2": ("h", "attn"), "llama": ("layers", "self_attn")}  # names in transformers
EXITS_FOLDERS, EXITS_FILE = {"bookworm": "bookworm_exits"}, "exits.safetensors"


@checked
def kept_layers(lm: LM, layers: Sequence[int]) -> LM:
    """A model of some layers of `lm`, counted from 0, between its own embedding and output.

    All its parts are those of `lm`: it holds no weights of its own. Raises ValueError for a model
    of another family, or layers that are not some of the model's in their order.
    """
    kind, count = lm.model.config.model_type, lm.model.config.num_hidden_layers
    if kind not in FAMILIES:
        raise ValueError(f"lm must be a model of {' or '.join(FAMILIES)}, got {kind}")
    layers = check_tokens("layers", layers)
    if layers != sorted(set(layers)) or layers[-1] >= count:
        raise ValueError(f"layers must be different, in order and < {count}, got {layers}")
    whole, (blocks, attention) = unwrapped(lm.model), BLOCKS[kind]
    model = shallow(whole)
    base = model._modules[model.base_model_prefix] = shallow(whole.base_model)
    kept = [getattr(whole.base_model, blocks)[layer] for layer in layers]
    numbers = (numbered(block, attention, at) for at, block in enumerate(kept))
    base._modules[blocks] = nn.ModuleList(numbers).eval()
    model.config = base.config = copy.deepcopy(lm.model.config)
    model.config.num_hidden_layers = len(layers)
    return replace(lm, model=model, model_id=f"{lm.model_id}, layers {layers}", obeyed=None)


def unwrapped(model: nn.Module) -> nn.Module:
    """A model out of the wrapper that PEFT puts around it; its adapters stay in its layers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def shallow(part: nn.Module) -> nn.Module:
    """Another module with the same parts, to exchange some of them."""
    new = copy.copy(part)
    new._modules = dict(part._modules)
    return new


def numbered(block: nn.Module, attention: str, at: int) -> nn.Module:
    """A layer with the same weights, whose keys and values go to place `at` of a cache."""
    if getattr(block, attention).layer_idx == at:
        return block
    block = shallow(block)
    block._modules[attention] = shallow(getattr(block, attention))
    block._modules[attention].layer_idx = at
    return block


@torch.no_grad()
def fit_exit(lm: LM, part: LM, ids: torch.Tensor) -> torch.Tensor:
    """The matrix `[width, width]` that best turns what `part` says into what `lm` says.

    Of all matrices, the one whose squared errors are least on some texts `[n, T]`: errors in the
    hidden states before the output layer. There are no steps, the solution is one. After the
    tuned lens (Belrose et al. 2023), which is trained. The little that is added on the diagonal
    makes sure that there is a solution.
    """
    theirs, ours = (each.model.base_model(input_ids=ids)[0].flatten(0, 1) for each in (part, lm))
    squares = theirs.T @ theirs  # [n · T, width] → [width, width]
    squares.diagonal().add_(squares.diagonal().mean() / 1000)
    return torch.linalg.solve(squares, theirs.T @ (ours - theirs)).T


@torch.no_grad()
def with_exit(part: LM, matrix: torch.Tensor) -> LM:
    """The same model, which says the sum of what it said and the matrix `[width, width]` times it.

    The matrix is multiplied into a copy of the output layer once, so a pass takes no longer. The
    copy is rounded to half precision, as the shipped weights are, which the engine reads faster.
    """
    output = part.model.get_output_embeddings().weight  # [V, width]
    model = shallow(part.model)
    like = {"device": output.device, "dtype": output.dtype}
    model.lm_head = nn.Linear(*output.shape[::-1], bias=False, **like)
    model.lm_head.weight.copy_((output + output @ matrix.to(output)).half())
    model.config = copy.deepcopy(part.model.config)
    model.config.tie_word_embeddings = False
    return replace(part, model=model.eval().requires_grad_(False))


def shipped_exits(lm: LM) -> dict[int, torch.Tensor]:
    """The shipped matrices for `lm`, by how many first layers they follow; none for most models."""
    if lm.model_id not in EXITS_FOLDERS or lm.model.config.model_type not in FAMILIES:
        return {}
    tensors = load_file(shipped_folder(EXITS_FOLDERS[lm.model_id]) / EXITS_FILE)
    theirs, ours = tensors.pop("probe"), probe(lm)
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=0.02, atol=1e-3):
        return {}  # somebody has changed the model
    return {int(layers): matrix.float() for layers, matrix in tensors.items()}


def first_layers(lm: LM, count: int = 1) -> LM:
    """The first layers of `lm`, with the shipped matrix if there is one. Errors as kept_layers."""
    part, matrix = kept_layers(lm, range(count)), shipped_exits(lm).get(count)
    return part if matrix is None else with_exit(part, matrix)


@checked
def early_exit(lm: LM, temperature: Temperature, top_p: TopP, generator: Generator) -> ModelDrafter:
    """The first of the model's own layers, which stop where they are unsure.

    With a cache of their own. Raises ValueError for a model of another family.
    """
    output = lm.model.get_output_embeddings().weight  # of which it may hold a copy
    now = (output.data_ptr(), output.dtype, output.device, version_of(output))
    if lm.kept.get("exit", (None,))[0] != now:
        lm.kept["exit"] = now, first_layers(lm)
    drafter = ModelDrafter(lm.kept["exit"][1], temperature, top_p, generator, sure=0.25)
    drafter.span = 4
    return drafter
