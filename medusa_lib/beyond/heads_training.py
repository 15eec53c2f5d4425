"""Training heads on text that the model itself wrote, the model frozen.

Medusa-1 with self-distillation (Cai et al. 2024): what counts is not the next word of a book but
the next choice of this model, so the model writes the training texts and is its own teacher.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import DynamicCache

from medusa_lib.base.checks import check_fields, checked
from medusa_lib.base.words import Flag, Generator, Hook, Node, Positive, Seed, Temperature
from medusa_lib.beyond.medusa_heads import HeadsShape, MedusaHeads, model_parts, new_heads
from medusa_lib.steps.model import LM

TEMPERATURES = (0.0, 0.8, 0.0, 0.4)  # of texts to learn from, in turn: half are its own choices
SOFT = (0.8, 0.25)  # temperatures at which heads learn distributions
HEATS = [step / 20 for step in range(2, 31)]  # of which the fitting one is taken
DECAY = 0.8  # how much less each further head counts in the loss, the paper's
REPEATED = 6  # tokens in a row that, seen before, make a text a repetition
RANKS = 10  # the right token's place among a head's guesses is counted up to this
NOT_GUESSED = -100  # the label of a token that no head can guess; the loss leaves it out


@dataclass(frozen=True)
class Texts:
    """Texts with what the model had and chose at each place.

    ids, choices: `[n, T]`, the tokens and the model's most probable next one. hidden:
    `[n, T, width]`, float16. start: the place of the first token after the prompts.
    """

    ids: torch.Tensor
    hidden: torch.Tensor
    choices: torch.Tensor
    start: int


@dataclass(frozen=True)
class Examples:
    """What heads learn from, one row a place in a text.

    states: `[places, width]`, the hidden states of all places of the texts, of which the heads
    guess at those that `at` `[n]` names. tokens: ids `[n, K]`, the true ones before each head's
    guess. labels: ids `[n, K]`, what the model chose after them.
    """

    states: torch.Tensor
    at: torch.Tensor
    tokens: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.at)

    @property
    def hidden(self) -> torch.Tensor:
        """The hidden states that the heads guess from: `[n, width]`."""
        return self.states[self.at]

    def ahead(self, chosen: torch.Tensor) -> torch.Tensor:
        """What the model had where the guesses of some examples belong: `[n, K, width]`."""
        further = torch.arange(1, self.labels.shape[1] + 1)
        return self.states[self.at[chosen][:, None] + further]


@checked
@torch.inference_mode()
def write_texts(
    lm: LM,
    prompts: torch.Tensor,
    new_tokens: Positive,
    temperature: Temperature,
    generator: Generator,
) -> Texts:
    """The model goes on from prompts `[n, P]` with `new_tokens` each, all at once.

    temperature 0: its own choices. Raises ValueError for a knob out of range.
    """
    cache, fed, ids = DynamicCache(config=lm.model.config), prompts.to(lm.device), prompts
    hidden, choices = [], []
    for _ in range(new_tokens + 1):
        rows = lm.model.base_model(input_ids=fed, past_key_values=cache, use_cache=True)[0]
        logits = lm.model.get_output_embeddings()(rows[:, -1]).float().cpu()  # [n, V]
        following = logits.argmax(dim=-1, keepdim=True)  # [n, 1]
        hidden.append(rows.half().cpu())
        choices.append(torch.cat([choices_of(lm, rows[:, :-1]), following], dim=1))
        if temperature:
            probs = torch.softmax(logits / temperature, dim=-1)  # [n, V]
            following = torch.multinomial(probs, 1, generator=generator)
        ids, fed = torch.cat([ids, following], dim=1), following.to(lm.device)
    return Texts(ids[:, :-1], torch.cat(hidden, 1), torch.cat(choices, 1), prompts.shape[1])


def choices_of(lm: LM, rows: torch.Tensor) -> torch.Tensor:
    """The model's most probable next token at each place: hidden `[n, T, width]` → ids `[n, T]`.

    Some rows at a time: logits of all at once take much memory.
    """
    output, some = lm.model.get_output_embeddings(), max(1, 1024 // max(1, rows.shape[1]))
    return torch.cat([output(part).argmax(dim=-1).cpu() for part in rows.split(some)])


@torch.inference_mode()
def read_texts(lm: LM, ids: torch.Tensor) -> Texts:
    """What the model has and chooses at each place of given texts `[n, T]`, such as books."""
    rows = lm.model.base_model(input_ids=ids.to(lm.device), use_cache=False)[0]  # [n, T, width]
    return Texts(ids, rows.half().cpu(), choices_of(lm, rows), 1)


@checked
def openings(lm: LM, count: Positive, length: Positive, generator: Generator) -> torch.Tensor:
    """Prompts `[count, length]` for a model that has no books: its own, drawn from EOS on."""
    start = torch.full((count, 1), lm.eos_id)
    return write_texts(lm, start, length, 1.0, generator).ids[:, 1:]


def is_fresh(ids: torch.Tensor) -> torch.Tensor:
    """Where a text does not repeat itself: bool `[n, T]` for ids `[n, T]`.

    False where the last REPEATED tokens stood in the same text before. Under greedy most texts
    of a small model end in a loop, which teaches heads little.
    """
    fresh = torch.ones_like(ids, dtype=torch.bool)
    if ids.shape[1] < REPEATED:
        return fresh
    grams = ids.unfold(1, REPEATED, 1)  # [n, G, REPEATED], G = T + 1 - REPEATED
    same = (grams[:, :, None] == grams[:, None]).all(dim=-1).tril(diagonal=-1)  # [n, G, G]
    fresh[:, REPEATED - 1 :] = ~same.any(dim=-1)
    return fresh


def examples_of(texts: Texts, count: int) -> Examples:
    """Every fresh place of the texts from which `count` heads can be taught.

    The first place is the last of the prompt: from there on the model's choices are its own.
    """
    begin = texts.start - 1
    states = texts.hidden[:, begin:]  # [texts, T, width]
    taught = is_fresh(texts.ids)[:, begin:]  # [texts, T]
    taught[:, states.shape[1] - count :] = False  # there is not enough after them
    at = taught.flatten().nonzero()[:, 0]  # [n]
    ahead = at[:, None] + torch.arange(1, count + 1)  # [n, K]
    tokens, labels = (ids[:, begin:].flatten()[ahead] for ids in (texts.ids, texts.choices))
    return Examples(states.reshape(-1, states.shape[-1]), at, tokens, labels)


def joined(parts: Sequence[Examples]) -> Examples:
    """Several sets of examples as one."""
    starts = itertools.accumulate((len(part.states) for part in parts), initial=0)
    at = [part.at + start for part, start in zip(parts, starts, strict=False)]
    columns = zip(*((part.states, part.tokens, part.labels) for part in parts), strict=True)
    states, tokens, labels = (torch.cat(column) for column in columns)
    return Examples(states, torch.cat(at), tokens, labels)


def frequent(labels: torch.Tensor, words: int, vocab_size: int) -> torch.Tensor:
    """The `words` ids that are chosen most often, ascending. As FR-Spec, Zhao et al. 2025."""
    counts = torch.bincount(labels.flatten(), minlength=vocab_size)  # [V]
    order = counts.argsort(descending=True, stable=True)
    return order[: min(words, vocab_size)].sort().values


def places_in(vocab: torch.Tensor, labels: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Ids → their places among those that heads can guess, NOT_GUESSED for the others."""
    places = torch.full((vocab_size,), NOT_GUESSED)  # [V]
    places[vocab] = torch.arange(len(vocab))
    return places[labels]


def heads_loss(scores: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each head's guess, in nats, the k-th weighted by DECAY^k, added up.

    scores: `[n, K, words]`. places: `[n, K]`.
    """
    total = scores.new_zeros(())
    for head in range(scores.shape[1]):
        known = places[:, head]  # [n]
        if (known != NOT_GUESSED).any():
            loss = F.cross_entropy(scores[:, head], known, ignore_index=NOT_GUESSED)
            total = total + DECAY**head * loss
    return total


def soft_loss(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the heads' distributions with the model's own, in nats, weighted likewise.

    scores, wanted: `[n, K, words]`, the heads' and the model's. Once at the temperature of its
    samples, once where almost only its first choice counts. After Hinton et al. 2015.
    """
    weights = DECAY ** torch.arange(scores.shape[1], device=scores.device)  # [K]
    total = scores.new_zeros(())
    for temperature in SOFT:
        p = torch.softmax(wanted / temperature, dim=-1)
        log_q = torch.log_softmax(scores / temperature, dim=-1)
        total = total + temperature * (weights * -(p * log_q).sum(dim=-1).mean(dim=0)).sum()
    return total


@dataclass(frozen=True)
class Training:
    """How heads are trained. Raises ValueError naming a field out of range.

    steps of `batch` examples. lr: highest learning rate of the blocks' matrices; a third of it
    for everything else. seed: of the order of examples and the first weights. soft: learn the
    model's whole distributions, not only its choices.
    """

    steps: Positive = 600
    batch: Positive = 512
    lr: float = 3e-3
    seed: Seed = 7
    soft: Flag = False

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be a number > 0, got {self.lr!r}")


@dataclass
class Learner:
    """Heads on their way: what goes on from one step to the next.

    teacher: `[words, width]`, the model's own output layer for the words that heads can guess.
    """

    heads: MedusaHeads
    optimizer: torch.optim.Optimizer
    teacher: torch.Tensor
    step: int = 0


def make_heads(lm: LM, shape: HeadsShape, examples: Examples, training: Training) -> Learner:
    """Fresh heads that can guess the examples' most frequent labels, and their optimisers.

    AdamW for all of it, a third of the learning rate for everything but the blocks' matrices.
    """
    vocab = frequent(examples.labels, shape.words, lm.vocab_size)
    shape = HeadsShape(**{**vars(shape), "words": len(vocab)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        heads = new_heads(lm, shape, vocab)
    named = list(heads.named_parameters())
    inner = [p for name, p in named if p.ndim == 2 and not name.startswith("out")]
    rest = [p for name, p in named if p.ndim < 2 or name.startswith("out")]
    groups = [{"params": inner}, {"params": rest, "lr": training.lr / 3}]
    optimizer = torch.optim.AdamW(groups, lr=training.lr, weight_decay=0.0)
    return Learner(heads, optimizer, model_parts(lm)[1][heads.vocab])


def set_rates(learner: Learner, training: Training) -> None:
    """How far the next step goes: warm-up over up to 50 steps, then less and less, to zero."""
    warm = min(1.0, (learner.step + 1) / max(1, min(50, training.steps // 4)))
    for group, most in zip(learner.optimizer.param_groups, (1, 1 / 3), strict=True):
        group["lr"] = training.lr * most * warm * (1 - learner.step / training.steps)


def train_steps(
    learner: Learner, examples: Examples, training: Training, vocab_size: int
) -> Iterator[tuple[int, float]]:
    """Train from the learner's step to the last; yields (step, loss in nats) after each.

    The batch of a step depends on the seed and the step alone, so that a run can be resumed.
    """
    heads = learner.heads.train()
    places = places_in(heads.vocab.cpu(), examples.labels, vocab_size)  # [n, K]
    while learner.step < training.steps:
        set_rates(learner, training)
        chosen = batch_of(learner.step, examples, training)
        loss = loss_on(learner, examples, None if training.soft else places, chosen)
        if loss.requires_grad:
            loss.backward()
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        learner.step += 1
        yield learner.step, loss.item()
    heads.eval()


def batch_of(step: int, examples: Examples, training: Training) -> torch.Tensor:
    """The places `[batch]` of the examples that a step trains on."""
    rng = random.Random(training.seed * 1_000_003 + step)
    return torch.tensor([rng.randrange(len(examples)) for _ in range(training.batch)])


def loss_on(
    learner: Learner, examples: Examples, places: torch.Tensor | None, chosen: torch.Tensor
) -> torch.Tensor:
    """The heads' loss on the chosen examples. places: `[n, K]`, of all labels; None: soft_loss."""
    heads, device = learner.heads, learner.teacher.device
    count = heads.shape.count
    hidden = examples.states[examples.at[chosen]].float().to(device)  # [batch, width]
    scores = heads(hidden, examples.tokens[chosen, :count].to(device))  # [batch, K, words]
    if places is not None:
        return heads_loss(scores, places[chosen, :count].to(device))
    ahead = examples.ahead(chosen)[:, :count].float().to(device)  # [batch, K, width]
    return soft_loss(scores, ahead @ learner.teacher.t())


@torch.inference_mode()
def right_ranks(heads: MedusaHeads, examples: Examples, vocab_size: int) -> torch.Tensor:
    """At which rank each head had the right token: `[n, K]`, 0 for its best guess.

    RANKS stands for a rank beyond, or a token that no head can guess. Heads are told the true
    tokens before.
    """
    device, count = heads.vocab.device, heads.shape.count
    places = places_in(heads.vocab.cpu(), examples.labels[:, :count], vocab_size)
    ranks = []
    for i in range(0, len(examples), 2048):
        part = slice(i, i + 2048)
        tokens = examples.tokens[part, :count].to(device)
        hidden = examples.states[examples.at[part]].float().to(device)
        scores = heads(hidden, tokens).cpu()
        best = scores.topk(min(RANKS, scores.shape[-1]), dim=-1).indices  # [n, K, RANKS]
        found = best == places[part, :, None]  # [n, K, RANKS]
        rank = found.int().argmax(dim=-1)  # [n, K]
        ranks.append(torch.where(found.any(dim=-1), rank, RANKS))
    return torch.cat(ranks)


@torch.inference_mode()
def fitted_heat(heads: MedusaHeads, examples: Examples, vocab_size: int) -> float:
    """The temperature at which the heads' distributions fit the model's own choices best.

    As Guo et al. 2017 calibrate a classifier: by the cross-entropy on held-out examples.
    """
    places = places_in(heads.vocab.cpu(), examples.labels, vocab_size)  # [n, K]
    device, losses = heads.vocab.device, torch.zeros(len(HEATS))
    for part in torch.arange(len(examples)).split(2048):
        hidden = examples.states[examples.at[part]].float().to(device)
        scores = heads(hidden, examples.tokens[part].to(device)).cpu()  # [batch, K, words]
        for i, heat in enumerate(HEATS):
            losses[i] += len(part) * heads_loss(scores / heat, places[part])
    return HEATS[int(losses.argmin())]


def top_accuracy(ranks: torch.Tensor, most: int = 5) -> list[list[float]]:
    """For each head how often the right token is among its best 1, 2, … `most` guesses."""
    return [[float((row < n).float().mean()) for n in range(1, most + 1)] for row in ranks.T]


def rank_accuracy(ranks: torch.Tensor) -> list[list[float]]:
    """For each head how often the right token is exactly its guess of rank 0, 1, …"""
    return [[float((row == rank).float().mean()) for rank in range(RANKS)] for row in ranks.T]


class Joint:
    """How often all ranks on the way to a node are right at once, counted on examples.

    What the product of the heads' accuracies only estimates: if the first guess is right the
    place is an easy one, and the second is right more often, too.
    """

    def __init__(self, ranks: torch.Tensor) -> None:
        self.size, self.counts = len(ranks), {}
        for row in ranks.tolist():
            for depth in range(1, len(row) + 1):
                node = tuple(row[:depth])
                self.counts[node] = self.counts.get(node, 0) + 1

    def __call__(self, node: Node) -> float:
        return self.counts.get(node, 0) / max(1, self.size)


@dataclass(frozen=True)
class Writing:
    """How a model writes texts to learn from: so many at once, after openings of its own.

    opening, new: tokens of an opening, and after it. temperature 0: its own choices.
    """

    texts: Positive = 64
    opening: Positive = 16
    new: Positive = 48
    temperature: Temperature = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def self_distilled(
    lm: LM,
    tokens: Positive,
    count: Positive,
    generator: Generator,
    writing: Writing | None = None,
    on_batch: Hook = None,
) -> Examples:
    """Examples for `count` heads from about `tokens` tokens that the model writes.

    on_batch is told the tokens so far.
    """
    how, parts, written = writing or Writing(), [], 0
    while written < tokens:
        prompts = openings(lm, how.texts, how.opening, generator)
        texts = write_texts(lm, prompts, how.new, how.temperature, generator)
        parts.append(examples_of(texts, count))
        written += how.texts * how.new
        if on_batch is not None:
            on_batch(written)
    return joined(parts)
