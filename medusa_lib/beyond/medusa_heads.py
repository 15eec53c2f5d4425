"""Heads that draft from the model's own last hidden states, and the drafters made of them.

Two kinds. Medusa's (Cai et al. 2024): K residual blocks, head k guesses the token k + 1 ahead
from the hidden states alone. Hydra's (Ankner et al. 2024): one block applied K times, which
also sees the token drafted before. Both begin as the model's own output layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from medusa_lib.base.checks import check_fields, check_int
from medusa_lib.base.words import Node, Positive, Temperature
from medusa_lib.beyond.one_pass import FAMILIES, Branch, State, check_tree_fits, empty_cache
from medusa_lib.beyond.trees import parents_of
from medusa_lib.engine.twin import is_same, stamp
from medusa_lib.steps.model import LM

KINDS = ("medusa", "hydra")
ALIKE = 1e-3  # so far scores of a twin and its heads may differ


class HeadsError(ValueError):
    """Heads that cannot be loaded or do not fit the model; the message says how to go on."""


@dataclass(frozen=True)
class HeadsShape:
    """What decides the size of heads. Raises ValueError naming a field out of range.

    count: heads, K. inner: numbers between the two layers of Hydra's block. words: how many
    tokens the heads can guess, the model's most frequent ones; all others are never drafted.
    heat: the temperature at which their probabilities are those of the model's own choices.
    """

    kind: str = "hydra"
    count: Positive = 4
    width: Positive = 256
    inner: Positive = 512
    words: Positive = 1536
    heat: Temperature = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        check_fields(self)
        if not self.heat > 0:
            raise ValueError(f"heat must be a number > 0, got {self.heat!r}")


class MedusaHeads(nn.Module):
    """K heads over a model's hidden states; the model itself is not part of them.

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
        self.kept: dict[str, object] = {}  # see `fast` and `words`; none of the weights
        self.quick: Callable | None = None  # a quick twin's way of Hydra's step
        # A block that adds nothing: the head is then the model's own output layer.
        for layer in self.blocks if shape.kind == "medusa" else [self.down]:
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def step(
        self, head: int, hidden: torch.Tensor, before: torch.Tensor, tokens: torch.Tensor | int
    ) -> torch.Tensor:
        """What head `head` (from 0) says from: `[n, width]`.

        hidden: the model's own hidden states `[n, width]`. before: what the head before said
        from, the same as `hidden` for head 0. tokens: ids `[n]` of the token before each guess,
        or the one id of a single row.
        """
        if self.shape.kind == "medusa":
            return hidden + F.silu(self.blocks[head](hidden))  # [n, width]
        if self.quick is not None:
            return self.quick(before, tokens)
        told = self.embedding[tokens].view(len(before), -1)  # [n, width]
        seen = torch.cat([before, told], dim=-1)  # [n, 2 width]
        return before + self.down(F.silu(self.up(seen)))  # [n, width]

    def __getstate__(self) -> dict[str, object]:
        """What a copy or a file of it holds: all but what was kept, which is made anew."""
        return {**self.__dict__, "kept": {}}

    @property
    def fast(self) -> MedusaHeads:
        """A faster twin for a few rows, made when first asked for."""
        now = stamp(self)
        if not is_same(self.kept.get("stamp"), now):
            plain = self.training or self.out.weight.device.type != "cpu"
            self.kept.clear()
            self.kept.update(stamp=now, twin=self if plain else quick_heads(self))
        return self.kept["twin"]

    @property
    def words(self) -> list[int]:
        """The token ids that can be guessed, as plain numbers."""
        if "words" not in self.kept:
            self.kept["words"] = self.vocab.tolist()
        return self.kept["words"]

    def forward(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of all heads `[n, K, words]`, each told the true tokens before its guess.

        hidden: `[n, width]`. tokens: ids `[n, K]`: the next token, the one after it, …
        """
        before, said = hidden, []
        for head in range(self.shape.count):
            before = self.step(head, hidden, before, tokens[:, head])
            said.append(before)
        return self.out(torch.stack(said, dim=1))  # [n, K, width] → [n, K, words]


@torch.no_grad()
def quick_heads(heads: MedusaHeads) -> MedusaHeads:
    """The same heads, faster for a few rows; themselves where the engine cannot do it."""
    try:
        twin = heads_in_loops(heads)
        return twin if say_alike(twin, heads) else heads
    except Exception:  # whatever the reason, the heads can do it themselves
        return heads


def heads_in_loops(heads: MedusaHeads) -> MedusaHeads:
    """Heads whose layers the engine computes; numba takes long to import."""
    from medusa_lib.engine.arrays import QuickHydra, QuickLinear  # noqa: PLC0415

    twin = copy.deepcopy(heads, {id(t): t for t in (*heads.parameters(), *heads.buffers())})
    twin.out = QuickLinear(heads.out.weight, heads.out.bias)
    if heads.shape.kind == "medusa":
        twin.blocks = nn.ModuleList(QuickLinear(block.weight, block.bias) for block in heads.blocks)
    else:
        twin.quick = QuickHydra(heads)
    return twin


def say_alike(twin: MedusaHeads, heads: MedusaHeads) -> bool:
    """True if the first head of both says the same of some numbers.

    Of Hydra's twin only the guess is compared: what else it can do is compiled when needed.
    """
    hidden = torch.linspace(-1, 1, heads.shape.width)[None]  # [1, width]
    said = heads.out(heads.step(0, hidden, hidden, torch.zeros(1).long()))  # [1, words]
    if twin.quick is not None:
        guess = heads.words.index(twin.quick.chain(hidden[0], 0, 1)[0])
        return float(said.max() - said[0, guess]) < ALIKE
    ours = twin.out(twin.step(0, hidden, hidden, torch.zeros(1).long()))
    return torch.allclose(ours, said, rtol=ALIKE, atol=ALIKE)


def model_parts(lm: LM) -> tuple[torch.Tensor, torch.Tensor]:
    """A model's (token table, output layer), `[V, width]` each, float32 on its device.

    Raises HeadsError for a model of a family whose hidden states are not kept.
    """
    kind = lm.model.config.model_type
    if kind not in FAMILIES:
        raise HeadsError(f"lm must be a model of {' or '.join(FAMILIES)} for heads, got {kind}")
    parts = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
    table, output = (part.weight.detach().float() for part in parts)  # [V, width] each
    if table.shape[1] != output.shape[1]:
        raise HeadsError(
            f"lm must have tokens as wide as its hidden states, {output.shape[1]}, "
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

    hidden: `[width]`, the model's last hidden states. token: the id that it chose from them.
    """
    hidden = before = hidden[None].float()
    tokens = torch.tensor([token], device=hidden.device)
    most, drafted = max(map(max, nodes)) + 1, []
    levels = levels_of(nodes, most, hidden.device)
    for head, level in enumerate(levels):
        before = heads.step(head, hidden.expand(len(tokens), -1), before, tokens)  # [n, width]
        best = heads.out(before).topk(most, dim=-1).indices.flatten()  # [n · most]
        guesses = heads.vocab[best[level.guesses]]  # a token for each node of this depth
        drafted.append(guesses)
        if head + 1 < len(levels):
            before, tokens = before[level.rows], guesses[level.open]
    by_depth = torch.cat(drafted).tolist()
    return [by_depth[place] for place in places_by_depth(nodes)]


def draft_chain(heads: MedusaHeads, hidden: torch.Tensor, token: int, count: int) -> list[int]:
    """The best guess of each of `count` heads, each told the one before: a tree of one branch."""
    if heads.quick is not None:
        return heads.quick.chain(hidden, token, count)
    hidden = before = hidden[None].float()  # [1, width]
    tokens = [token]
    with torch.inference_mode():
        for head in range(count):
            before = heads.step(head, hidden, before, tokens[-1])
            tokens.append(heads.words[heads.out(before).cpu().numpy().argmax()])
    return tokens[1:]


@lru_cache(maxsize=64)
def places_by_depth(nodes: tuple[Node, ...]) -> list[int]:
    """Where each node stands when they are ordered by depth."""
    ordered = sorted(range(len(nodes)), key=lambda i: len(nodes[i]))
    return sorted(range(len(nodes)), key=ordered.__getitem__)


class FromHidden:
    """What the two drafters share: they draft from the hidden states that a pass has left."""

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
        """(heads, hidden states `[width]`, the id chosen from them); None in the first loop."""
        if state.hidden is None:
            return None
        if self.fast is None:
            self.fast = self.heads.fast
        return self.fast, state.hidden[-1], state.ids[-1]


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
            check_tree_fits(State(lm, [], *empty_cache(lm)))

    def propose(self, state: State, span: int) -> Branch:
        """A token for each node of depth <= span, from the hidden states of the last pass."""
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
