"""The cure, part two: cheap drafters. A repeated n-gram, a smaller model, the model itself."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import torch

from medusa_lib.base.checks import check_callable, check_int, checked
from medusa_lib.base.config import DRAFT_MODEL
from medusa_lib.base.words import Flag, Generator, ModelId, Positive, Share, Temperature, TopP
from medusa_lib.beyond.one_pass import Branch, State, check_is_branch, one_pass, roll_back
from medusa_lib.steps.model import LM, ModelLoadError, load_lm
from medusa_lib.steps.sampling import draw_from, nucleus_probs

DEFAULT_SPAN = 4  # of a drafter that names none


class Drafter(Protocol):
    """Anything that can bet on the next tokens of a state.

    It may also have `observe(state, logits, accepted)`, called after each verification with
    the logits `[accepted + 1, V]` of what was kept (and `state.hidden` in the same rows), and
    an attribute `span`, used where none is asked for. `needs_hidden` True: it drafts from
    `state.hidden` and is silent without. `look(branch, logits)`, called before that with what
    was verified and all its rows `[len(branch) + 1, V]`, for one that asks the same pass for more
    than a verdict.
    """

    def propose(self, state: State, span: int) -> Branch:
        """At most `span` tokens to follow `state.ids`; an empty branch is allowed."""


class NgramDrafter:
    """Bets that the text repeats itself: what followed the last few tokens before follows again.

    Looks for the latest earlier place where the last `longest` tokens stood, then fewer, and
    copies from there; at the end of the text it begins again. Costs no forward pass. After
    prompt lookup decoding, Saxena 2023, which takes the earliest place and ends there.
    shortest: fewer tokens are no reason to bet. trust: how many tokens to copy for each one that
    matched, since a long match holds for longer; None: as many as are asked for. agree: an
    n-gram that two different tokens followed the last two times is no reason to bet, only a
    shorter one may be.
    """

    span = 7

    @checked
    def __init__(
        self,
        longest: Positive = 3,
        shortest: Positive = 1,
        trust: Positive | None = None,
        agree: Flag = False,
    ) -> None:
        self.longest, self.shortest = check_int("longest", longest, shortest), shortest
        self.trust, self.agree = trust, agree
        self.ids: list[int] = []
        self.places: dict[tuple[int, ...], int] = {}  # n-gram → where it last ended
        self.followed: dict[tuple[int, ...], int] = {}  # n-gram → the token after it

    def propose(self, state: State, span: int) -> Branch:
        """What followed the last n-gram when it stood there before; empty if none is noted."""
        self.read(state.ids)
        for n in range(min(self.longest, len(self.ids)), self.shortest - 1, -1):
            end = self.places.get(tuple(self.ids[-n:]))
            if end is not None:
                return Branch(self.copied(end, n, span))
        return Branch()

    def copied(self, end: int, n: int, span: int) -> list[int]:
        """What followed an n-gram that ended there, at most `span` ids, fewer with `trust`."""
        most = span if self.trust is None else min(span, self.trust * n)
        following = itertools.cycle(self.ids[end:])  # past the end of the text, again
        return list(itertools.islice(following, most))

    def read(self, ids: list[int]) -> None:
        """Note every n-gram of `ids` that ends before its last token."""
        if ids[: len(self.ids)] != self.ids:
            self.ids, self.places, self.followed = [], {}, {}  # another text
        for end in range(max(1, len(self.ids)), len(ids)):
            for n in range(self.shortest, min(self.longest, end) + 1):
                self.note(tuple(ids[end - n : end]), end, ids[end])
        self.ids = list(ids)

    def note(self, gram: tuple[int, ...], end: int, following: int) -> None:
        """Note where an n-gram ended; with `agree` forget it if what followed has changed."""
        self.places[gram] = end
        if self.agree:
            if self.followed.get(gram, following) != following:
                del self.places[gram]
            self.followed[gram] = following


class ModelDrafter:
    """Bets with a language model of its own, token by token, over a cache of its own.

    With the verifying model itself as `lm` this is STEP4's drafter with a cache. At
    temperature 0 it drafts its greedy tokens. sure: it stops drafting after a token to which
    it gave less than this probability, in [0, 1]. For one run at a time.
    """

    span = 4

    @checked
    def __init__(
        self,
        lm: LM,
        temperature: Temperature,
        top_p: TopP,
        generator: Generator,
        sure: Share = 0.0,
    ) -> None:
        self.lm, self.temperature, self.top_p = lm, temperature, top_p
        self.generator, self.sure = generator, sure
        self.own: State | None = None

    def check_fits(self, _lm: LM) -> None:
        """Every run begins with it: the drafting model may have changed since the last."""
        self.own = None  # what it has read, it may have read as another

    def propose(self, state: State, span: int) -> Branch:
        """Up to `span` tokens, each from one pass of the drafting model.

        Fewer where its context ends. Raises ValueError for ids outside its vocabulary.
        """
        self.check_known(state.ids)
        try:
            return self.draft(state.ids, min(span, self.lm.context_length - len(state.ids)))
        except BaseException:  # also an interrupt: its cache may be half grown
            self.own = None
            raise

    def check_known(self, ids: list[int]) -> None:
        """Raises ValueError for ids outside the drafting model's vocabulary."""
        if max(ids) >= self.lm.vocab_size:
            known = self.lm.vocab_size
            raise ValueError(f"ids for the drafter must be < {known}, got {max(ids)}")

    def draft(self, ids: list[int], span: int) -> Branch:
        """A branch of `span` tokens, or fewer, to follow `ids`."""
        if span < 1:
            return Branch()
        self.catch_up(ids)
        tokens, probs = [], []
        while len(tokens) < span:
            logits = one_pass(self.own, [])[-1]
            token, q = self.pick(logits)
            tokens.append(token)
            probs.append(q)
            self.own.ids.append(token)
            unsure = self.sure and float(torch.softmax(logits, -1)[token]) < self.sure
            if unsure or self.lm.is_end(token):
                break
        return Branch(tokens, probs if self.temperature else None, passes=len(tokens))

    def catch_up(self, ids: list[int]) -> None:
        """Bring the drafting model's own state to `ids`, keeping what its cache shares with it."""
        if self.own is None:
            self.own = State.start(self.lm, [])
        shared = common_prefix(self.own.ids, ids)
        # At least one token must be fed, to have logits to draft from.
        roll_back(self.own, min(shared, len(ids) - 1))
        self.own.ids = list(ids)

    def pick(self, logits: torch.Tensor) -> tuple[int, torch.Tensor | None]:
        """Logits `[V]` → (token, the distribution it was drawn from or None if greedy)."""
        if self.temperature == 0:
            return int(logits.argmax()), None
        q = nucleus_probs(logits, self.temperature, self.top_p)
        return draw_from(q, self.generator), q


class FirstOf:
    """Bets with the first of some drafters that has something to say.

    Such as a long n-gram, which costs no multiplication, before heads. Raises ValueError for
    none, or for something that is no drafter.
    """

    def __init__(self, *drafters: Drafter) -> None:
        if not drafters:
            raise ValueError("drafters must be at least one, got none")
        self.drafters = tuple(check_drafter(drafter) for drafter in drafters)
        self.spans = [getattr(drafter, "span", DEFAULT_SPAN) for drafter in drafters]
        self.span = max(self.spans)
        self.needs_hidden = any(getattr(drafter, "needs_hidden", False) for drafter in drafters)

    def check_fits(self, lm: LM) -> None:
        """Raises ValueError if one of the drafters does not fit the model."""
        for drafter in self.drafters:
            if hasattr(drafter, "check_fits"):
                drafter.check_fits(lm)

    def propose(self, state: State, span: int) -> Branch:
        """The first branch that is not empty, each drafter asked for its own span at most."""
        passes = 0  # of those that were silent, too
        for drafter, most in zip(self.drafters, self.spans, strict=True):
            branch = check_is_branch(drafter.propose(state, min(span, most)))
            passes += branch.passes
            if branch.tokens:
                return replace(branch, passes=passes) if passes else branch
        return Branch(passes=passes)

    def observe(self, state: State, logits: torch.Tensor, accepted: int) -> None:
        """What a verification kept, passed on to all that want to know."""
        for drafter in self.drafters:
            if hasattr(drafter, "observe"):
                drafter.observe(state, logits, accepted)

    def look(self, branch: Branch, logits: torch.Tensor) -> None:
        """All rows of a pass, passed on likewise."""
        for drafter in self.drafters:
            if hasattr(drafter, "look"):
                drafter.look(branch, logits)


@contextlib.contextmanager
def full_precision(lm: LM) -> Iterator[None]:
    """Draft as always where autocast makes the model's own numbers coarser: drafts need no less."""
    kind = lm.device.type
    if not torch.is_autocast_enabled(kind):
        yield
        return
    with torch.autocast(kind, enabled=False):
        yield


def check_needs_no_pass(drafter: Drafter) -> None:
    """Raises ValueError for a drafter that is silent where the model itself does not run."""
    if getattr(drafter, "needs_hidden", False):
        kind = type(drafter).__name__
        raise ValueError(f"drafter must be one that needs no hidden states here, got {kind}")


def common_prefix(a: list[int], b: list[int]) -> int:
    """How many tokens two lists share at their start."""
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


def next_span(span: int, drafted: int, accepted: int, most: int) -> int:
    """An adaptive span: two more after a wholly accepted branch, one less after a poor one.

    Poor: less than half was accepted. In [1, most]; unchanged if nothing was drafted. After
    transformers' assisted generation, where any rejection takes one off.
    """
    if drafted == 0:
        return span
    if accepted == drafted:
        return min(most, span + 2)
    return max(1, span - 1) if 2 * accepted < drafted else span


@checked
def load_draft_lm(lm: LM, draft: ModelId = DRAFT_MODEL) -> LM:
    """A draft model for `lm`, loaded from its name or folder, on the same device.

    Raises ModelLoadError if it cannot be loaded, ValueError if its tokens are not those of `lm`.
    """
    small = load_lm(draft, lm.device)
    same_size = small.vocab_size == lm.vocab_size
    if not same_size or small.tokenizer.get_vocab() != lm.tokenizer.get_vocab():
        raise ValueError(
            f"draft must be a model with the tokens of {lm.model_id}, got {draft!r} with others"
        )
    return small


def draft_lm(lm: LM) -> LM:
    """The shipped draft model for `lm`, loaded when first asked for. Errors as load_draft_lm."""
    if "draft" not in lm.kept:
        lm.kept["draft"] = load_draft_lm(lm)
    return lm.kept["draft"]


def draft_fits(lm: LM) -> bool:
    """True if the shipped draft model is here and has the tokens of `lm`."""
    try:
        return draft_lm(lm) is not None
    except (ValueError, ModelLoadError):
        return False


@checked
def draft_model(
    lm: LM, temperature: Temperature, top_p: TopP, generator: Generator
) -> ModelDrafter:
    """The shipped draft model for `lm`, which stops where it is unsure.

    Raises ValueError if it does not fit `lm`.
    """
    drafter = ModelDrafter(draft_lm(lm), temperature, top_p, generator, sure=0.25)
    drafter.span = 6
    return drafter


def careful_ngram() -> NgramDrafter:
    """An n-gram drafter that copies further the longer the match is, and shuns doubtful ones."""
    drafter = NgramDrafter(longest=5, trust=4, agree=True)
    drafter.span = 16
    return drafter


def check_drafter(drafter: object, wanted: str = "an object with propose()") -> Drafter:
    """An object that drafts. Raises ValueError if it cannot, or its span, observe or look
    is none.

    wanted: what else would do, in words.
    """
    if isinstance(drafter, type) or not callable(getattr(drafter, "propose", None)):
        raise ValueError(f"drafter must be {wanted}, got {drafter!r}")
    check_int("drafter.span", getattr(drafter, "span", 1), 1)
    for name in ("observe", "look"):
        check_callable(f"drafter.{name}", getattr(drafter, name, None))
    return drafter
