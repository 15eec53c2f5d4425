"""Heads that draft from the model's own last hidden numbers, and the drafters made of them.

Two kinds. Medusa's (Cai et al. 2024): K residual blocks, head k guesses the token k + 1 ahead
from the hidden numbers alone. Hydra's (Ankner et al. 2024): one block applied K times, which
also sees the token drafted before. Both begin as the model's own output layer.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from medusa_lib.checks import check_int, check_share
from medusa_lib.config import shipped_folder
from medusa_lib.lean import lean_layers, lean_linear, stamp, version_of
from medusa_lib.model import LM
from medusa_lib.one_pass import FAMILIES, Branch, State, check_tree_fits
from medusa_lib.tree_attention import Node, Parents, parents_of

KINDS = ("medusa", "hydra")
HEADS_FILE, SETTINGS_FILE = "heads.safetensors", "heads.json"
BROKEN = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError)
HEADS_FOLDERS = {"bookworm": "bookworm_heads"}  # shipped model → its shipped heads


class HeadsError(ValueError):
    """Heads that cannot be loaded or do not fit the model; the message says how to go on."""


@dataclass(frozen=True)
class HeadsShape:
    """What decides the size of heads. Raises ValueError naming a field out of range.

    count: heads, K. inner: numbers between the two layers of Hydra's block. words: how many
    tokens the heads can guess, the model's most frequent ones; all others are never drafted.
    """

    kind: str = "hydra"
    count: int = 4
    width: int = 256
    inner: int = 512
    words: int = 1536

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        for name in ("count", "width", "inner", "words"):
            check_int(name, getattr(self, name), 1)


class MedusaHeads(nn.Module):
    """K heads over a model's hidden numbers; the model itself is not part of them.

    vocab: `[words]`, the token ids that can be guessed. embedding: `[V, width]`, the model's
    own table of tokens, looked up and never trained; heads see it scaled to numbers about 1.
    """

    def __init__(self, shape: HeadsShape, vocab: torch.Tensor, embedding: torch.Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.trees: dict[int, list[Node]] = {}  # trees that suit these heads, by their size
        self.register_buffer("vocab", vocab)
        scaled = embedding.detach() / embedding.detach().std()
        self.register_buffer("embedding", scaled, persistent=False)
        self.out = nn.Linear(shape.width, shape.words, bias=False)
        if shape.kind == "medusa":
            self.blocks = nn.ModuleList(
                nn.Linear(shape.width, shape.width) for _ in range(shape.count)
            )
        else:
            self.up = nn.Linear(2 * shape.width, shape.inner)
            self.down = nn.Linear(shape.inner, shape.width)
        self.twins: dict[object, nn.Module] = {}  # see lean; not part of the heads' weights
        self.listed: list[int] | None = None
        self.quick: QuickStep | None = None  # a lean twin's way of Hydra's step
        # A block that adds nothing: the head is then the model's own output layer.
        for layer in self.blocks if shape.kind == "medusa" else [self.down]:
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def step(
        self, head: int, hidden: torch.Tensor, before: torch.Tensor, tokens: torch.Tensor | int
    ) -> torch.Tensor:
        """What head `head` (from 0) says from: `[n, width]`.

        hidden: the model's own hidden numbers `[n, width]`. before: what the head before said
        from, the same as `hidden` for head 0. tokens: ids `[n]` of the token before each guess,
        or the one id of a single row.
        """
        if self.shape.kind == "medusa":
            return hidden + F.silu(self.blocks[head](hidden))
        if self.quick is not None:
            return self.quick(before, tokens)
        seen = torch.cat([before, self.embedding[tokens].view(len(before), -1)], dim=-1)
        return before + self.down(F.silu(self.up(seen)))

    def __getstate__(self) -> dict[str, object]:
        """What a copy or a file of it holds: all but the twin, which is made anew."""
        return {**self.__dict__, "twins": {}}

    @property
    def fast(self) -> MedusaHeads:
        """A faster twin for a few rows, made when first asked for: see lean.py."""
        known = (version_of(self.vocab), *stamp(self))
        twin = self.twins.get(known)
        if twin is None:
            self.twins, self.listed = {}, None  # a twin must not hold its forerunners
            plain = self.training or self.out.weight.device.type != "cpu"
            twin = self if plain else lean_twin(self)
            self.twins = {known: twin}
        return twin

    @property
    def words(self) -> list[int]:
        """The token ids that can be guessed, as plain numbers."""
        if self.listed is None:
            self.listed = self.vocab.tolist()
        return self.listed

    def forward(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of all heads `[n, K, words]`, each told the true tokens before its guess.

        hidden: `[n, width]`. tokens: ids `[n, K]`: the next token, the one after it, …
        """
        before, said = hidden, []
        for head in range(self.shape.count):
            before = self.step(head, hidden, before, tokens[:, head])
            said.append(before)
        return self.out(torch.stack(said, dim=1))


class QuickStep:
    """Hydra's block for a few rows: what a token adds is looked up, not multiplied each time."""

    def __init__(self, heads: MedusaHeads) -> None:
        width, up, down = heads.shape.width, heads.up, heads.down
        self.table = heads.embedding @ up.weight[:, width:].t() + up.bias
        self.up = lean_linear(up.weight[:, :width])
        self.down = lean_linear(down.weight, down.bias)

    def __call__(self, before: torch.Tensor, tokens: torch.Tensor | int) -> torch.Tensor:
        """What the head before said from `[n, width]`, and ids → what this head says from."""
        inner = self.up(before).add_(self.table[tokens])
        return self.down(F.silu(inner, inplace=True)).add_(before)


@torch.no_grad()
def lean_twin(heads: MedusaHeads) -> MedusaHeads:
    """The same heads, faster for a few rows."""
    if heads.shape.kind == "medusa":
        return lean_layers(heads)
    twin = lean_layers(heads, but=("up", "down"))
    twin.quick = QuickStep(heads)  # has lean ones of its own
    return twin


def model_parts(lm: LM) -> tuple[torch.Tensor, torch.Tensor]:
    """A model's (token table, output layer), `[V, width]` each, float32 on its device.

    Raises HeadsError for a model of a family whose hidden numbers are not kept.
    """
    kind = lm.model.config.model_type
    if kind not in FAMILIES:
        raise HeadsError(f"lm must be a model of {' or '.join(FAMILIES)} for heads, got {kind}")
    parts = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
    table, output = (part.weight.detach().float() for part in parts)
    if table.shape[1] != output.shape[1]:
        raise HeadsError(
            f"lm must have tokens as wide as its hidden numbers, {output.shape[1]}, "
            f"got {table.shape[1]}"
        )
    return table, output


def new_heads(lm: LM, shape: HeadsShape, vocab: torch.Tensor) -> MedusaHeads:
    """Untrained heads for a model: each is its own output layer, for the ids in `vocab`."""
    table, output = model_parts(lm)
    if shape.width != output.shape[1]:
        raise HeadsError(f"width must be {output.shape[1]}, as the model's, got {shape.width}")
    if len(vocab) != shape.words:
        raise HeadsError(f"vocab must have {shape.words} ids, as words says, got {len(vocab)}")
    heads = MedusaHeads(shape, vocab.to(lm.device), table).to(lm.device)
    with torch.no_grad():
        heads.out.weight.copy_(output[vocab])
    return heads


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


def heads_folder(lm: LM) -> Path:
    """Where the shipped heads for `lm` are. Raises HeadsError if it has none."""
    if lm.model_id not in HEADS_FOLDERS:
        raise HeadsError(
            f"lm must be {' or '.join(HEADS_FOLDERS)}, which has heads, got {lm.model_id}; "
            "python -m medusa_lib.pretrained.train_heads trains heads for another model"
        )
    return shipped_folder(HEADS_FOLDERS[lm.model_id])


def load_heads(lm: LM, folder: Path | str | None = None) -> tuple[MedusaHeads, list[Node]]:
    """Heads for `lm` and the tree that suits them; folder None: the shipped ones.

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
    """The shipped heads for `lm` and their tree, loaded when first asked for.

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


def check_heads_fit(heads: MedusaHeads, lm: LM) -> None:
    """Raises HeadsError for heads of another width, vocabulary or device than the model's."""
    table, output = model_parts(lm)
    ours = (output.shape[1], len(table), lm.device.type)
    theirs = (heads.shape.width, len(heads.embedding), heads.vocab.device.type)
    for name, wanted, got in zip(("width", "vocabulary", "device"), ours, theirs, strict=True):
        if wanted != got:
            raise HeadsError(f"heads must be for a {name} of {wanted}, got {got}")


@dataclass(frozen=True)
class Level:
    """One depth of a tree as places to look up: what draft_tree does once a depth.

    guesses: for each token its place among the best guesses of the depth, row after row. open:
    the tokens of this depth that have children. rows: the rows that those had been guessed in.
    """

    guesses: torch.Tensor
    open: torch.Tensor
    rows: torch.Tensor


@lru_cache(maxsize=64)
def levels_of(nodes: tuple[Node, ...], most: int, device: torch.device) -> tuple[Level, ...]:
    """A tree's nodes → its levels, depth by depth, each in the order of the nodes.

    most: guesses in a row.
    """
    levels, row_of = [], {(): 0}
    inner = {node[:-1] for node in nodes}
    for depth in range(1, max(map(len, nodes)) + 1):
        here = [node for node in nodes if len(node) == depth]
        rows, opened = [row_of[node[:-1]] for node in here], [node in inner for node in here]
        guesses = [most * row + node[-1] for row, node in zip(rows, here, strict=True)]
        places = [i for i, yes in enumerate(opened) if yes]
        parts = (guesses, places, [rows[i] for i in places])
        levels.append(Level(*(torch.tensor(part, device=device).long() for part in parts)))
        row_of = {here[i]: row for row, i in enumerate(places)}
    return tuple(levels)


@torch.inference_mode()
def draft_tree(
    heads: MedusaHeads, hidden: torch.Tensor, token: int, nodes: tuple[Node, ...]
) -> list[int]:
    """The heads' guesses for a tree → a token for each node, in their order.

    hidden: `[width]`, the model's last hidden numbers. token: the id that it chose from them.
    """
    hidden = before = hidden[None].float()
    tokens = torch.tensor([token], device=hidden.device)
    most, drafted = max(map(max, nodes)) + 1, []
    levels = levels_of(nodes, most, hidden.device)
    for head, level in enumerate(levels):
        before = heads.step(head, hidden.expand(len(tokens), -1), before, tokens)
        best = heads.out(before).topk(most, dim=-1).indices.flatten()
        guesses = heads.vocab[best[level.guesses]]
        drafted.append(guesses)
        if head + 1 < len(levels):
            before, tokens = before[level.rows], guesses[level.open]
    by_depth = torch.cat(drafted).tolist()
    return [by_depth[place] for place in places_by_depth(nodes)]


@torch.inference_mode()
def draft_chain(heads: MedusaHeads, hidden: torch.Tensor, token: int, count: int) -> list[int]:
    """The best guess of each of `count` heads, each told the one before: a tree of one branch."""
    hidden = before = hidden[None].float()
    tokens = [token]
    for head in range(count):
        before = heads.step(head, hidden, before, tokens[-1])
        tokens.append(heads.words[heads.out(before).cpu().numpy().argmax()])
    return tokens[1:]


@torch.inference_mode()
def draft_best_first(
    heads: MedusaHeads, hidden: torch.Tensor, token: int, growth: Growth, depth: int
) -> tuple[list[int], Parents]:
    """A tree that grows where the heads are sure → (tokens, parents).

    Again and again the likeliest guess of those waiting joins the tree, and if it is likely
    enough the next head guesses what follows it. How likely: the product of the heads'
    probabilities on the way to it.
    """
    hidden = hidden[None].float()
    waiting, taken = [], {}  # the likeliest first; node → token

    def guess(node: Node, token: int, chance: float, before: torch.Tensor) -> None:
        before = heads.step(len(node), hidden, before, token)
        scores = heads.out(before)[0].cpu().numpy()
        best = best_shares(scores, growth.ranks, chance, growth.least)
        for rank, (word, share) in enumerate(best):
            heapq.heappush(waiting, (-share, (*node, rank), heads.words[word], before))

    guess((), token, 1.0, hidden)
    while waiting and len(taken) < growth.most:
        share, node, token, before = heapq.heappop(waiting)
        taken[node] = token
        if len(node) < depth and -share >= growth.least_open and len(taken) < growth.most:
            guess(node, token, -share, before)
    nodes = sorted(taken)  # the way of the best guesses first: see check_nodes
    return [taken[node] for node in nodes], parents_of(nodes)


def best_shares(
    scores: np.ndarray, ranks: int, chance: float = 1.0, least: float = 0.0
) -> list[tuple[int, float]]:
    """The highest of some scores → (place, softmax probability × chance), highest first.

    At most `ranks` of them, and none below `least`.
    """
    shares = np.exp(scores - scores.max())
    part, left, found = chance / float(shares.sum()), chance, []
    # Where the first leaves too little for a second, none is looked for.
    while len(found) < min(ranks, len(shares)) and left >= least:
        place = int(shares.argmax())
        share = part * float(shares[place])
        if share < least:
            break
        found.append((place, share))
        shares[place], left = -1.0, left - share
    return found


@lru_cache(maxsize=64)
def places_by_depth(nodes: tuple[Node, ...]) -> list[int]:
    """Where each node stands when they are ordered by depth."""
    ordered = sorted(range(len(nodes)), key=lambda i: len(nodes[i]))
    return sorted(range(len(nodes)), key=ordered.__getitem__)


@dataclass(frozen=True)
class Growth:
    """When a tree that grows as it is drafted stops: see draft_best_first.

    most: nodes. depth: nodes in a row; more than there are heads only for Hydra, whose heads are
    one block. ranks: guesses of a head that count. least: how likely a node must be, in [0, 1].
    least_open: how likely, for the next head to be asked.
    """

    most: int = 8
    depth: int = 8
    ranks: int = 2
    least: float = 0.1
    least_open: float = 0.35

    def __post_init__(self) -> None:
        for name in ("most", "depth", "ranks"):
            check_int(name, getattr(self, name), 1)
        check_share("least", self.least), check_share("least_open", self.least_open)


class FromHidden:
    """What the two drafters share: they draft from the hidden numbers that a pass has left."""

    needs_hidden = True

    def __init__(self, heads: MedusaHeads) -> None:
        if not isinstance(heads, MedusaHeads):
            raise ValueError(f"heads must be MedusaHeads, got {type(heads).__name__}")
        self.heads = heads
        self.fast: MedusaHeads | None = None

    def check_fits(self, lm: LM) -> None:
        """Raises HeadsError for heads of another model. Every run begins with it."""
        check_heads_fit(self.heads, lm)
        self.fast = None  # the heads may have learned since the last run

    def told(self, state: State) -> tuple[MedusaHeads, torch.Tensor, int] | None:
        """(heads, hidden numbers `[width]`, the id chosen from them); None in the first loop."""
        if state.hidden is None:
            return None
        if self.fast is None:
            self.fast = self.heads.fast
        return self.fast, state.hidden[-1], state.ids[-1]


class GrowingDrafter(FromHidden):
    """Bets with heads: a tree that grows where they are sure, another one in each loop.

    As the trees of EAGLE-2 (Li et al. 2024). Raises ValueError for a depth beyond the heads.
    """

    def __init__(self, heads: MedusaHeads, growth: Growth | None = None) -> None:
        super().__init__(heads)
        if not isinstance(growth, Growth | None):
            raise ValueError(f"growth must be a Growth or None, got {growth!r}")
        self.growth = growth or Growth()
        self.span = self.growth.depth
        if heads.shape.kind == "medusa" and self.span > heads.shape.count:
            raise ValueError(f"depth must be <= {heads.shape.count} heads, got {self.span}")

    def check_fits(self, lm: LM) -> None:
        """Raises ValueError for a model that the heads are not for, or that takes no trees."""
        super().check_fits(lm)
        check_tree_fits(State.start(lm, []))

    def propose(self, state: State, span: int) -> Branch:
        """A tree of depth <= span, from the hidden numbers of the last pass."""
        told = self.told(state)
        if told is None:
            return Branch()
        tokens, parents = draft_best_first(*told, self.growth, min(span, self.span))
        if parents == tuple(range(-1, len(tokens) - 1)):
            return Branch(tokens)
        return Branch(tokens, parents=parents)


class HeadsDrafter(FromHidden):
    """Bets with heads: a tree of their guesses, or a chain of the best guess of each.

    nodes: the tree; a chain is a tree of one branch. The first loop has nothing to draft from.
    """

    def __init__(self, heads: MedusaHeads, nodes: Sequence[Node]) -> None:
        super().__init__(heads)
        self.nodes = check_nodes(nodes, heads.shape)
        self.span = max(map(len, self.nodes))

    def check_fits(self, lm: LM) -> None:
        """Raises ValueError for a model that the heads are not for, or that takes no tree."""
        super().check_fits(lm)
        if self.nodes[-1] != (0,) * len(self.nodes):
            check_tree_fits(State.start(lm, []))

    def propose(self, state: State, span: int) -> Branch:
        """A token for each node of depth <= span, from the hidden numbers of the last pass."""
        nodes, told = self.up_to(span), self.told(state)
        if told is None or not nodes:
            return Branch()
        if nodes[-1] == (0,) * len(nodes):  # the best guesses only
            return Branch(draft_chain(*told, len(nodes)))
        return Branch(draft_tree(*told, nodes), parents=parents_of(nodes))

    def up_to(self, span: int) -> tuple[Node, ...]:
        """The nodes of depth <= span."""
        if span >= self.span:
            return self.nodes
        return tuple(node for node in self.nodes if len(node) <= span)


def check_nodes(nodes: Sequence[Node], shape: HeadsShape) -> tuple[Node, ...]:
    """A tree's nodes, parents first. Raises ValueError for a tree that heads cannot draft.

    The way of the best guesses comes first of all: if it is accepted, nothing in the cache needs
    to be moved.
    """
    ordered = tuple(sorted(tuple(node) for node in nodes))
    if not ordered or len(set(ordered)) < len(ordered):
        raise ValueError(f"nodes must be at least one and all different, got {len(ordered)}")
    known = {(), *ordered}
    for node in ordered:
        if not 1 <= len(node) <= shape.count:
            raise ValueError(f"each of nodes must have 1 to {shape.count} ranks, got {node}")
        if any(not 0 <= check_int("each rank", rank, 0) < shape.words for rank in node):
            raise ValueError(f"each rank must be in [0, {shape.words - 1}], got {node}")
        if node[:-1] not in known:
            raise ValueError(f"nodes must have the parent of each of them, got {node} without it")
    return ordered


def chain_of(count: int) -> list[Node]:
    """The nodes of a chain: the best guess of each head."""
    return [(0,) * depth for depth in range(1, count + 1)]


def chain_drafter(lm: LM) -> HeadsDrafter:
    """The shipped heads' best guesses, one after the other. Raises HeadsError if none fit."""
    heads, _ = shipped_heads(lm)
    return HeadsDrafter(heads, chain_of(heads.shape.count))


def tree_drafter(lm: LM) -> GrowingDrafter:
    """The shipped heads with a tree that grows as it goes. Raises HeadsError if none fit `lm`."""
    return GrowingDrafter(shipped_heads(lm)[0])


def heads_fit(lm: LM) -> bool:
    """True if there are shipped heads for `lm`."""
    try:
        return shipped_heads(lm) is not None
    except HeadsError:
        return False
