"""Lookahead decoding: the model guesses far ahead, and what it once guessed becomes a bet.

After Fu et al. 2024, Break the Sequential Dependency of LLM Inference Using Lookahead Decoding.
No other model and no training: the guesses ride along in the pass that verifies.
"""

from __future__ import annotations

import itertools

import torch

from medusa_lib.base.checks import check_int, checked
from medusa_lib.base.words import Count, Positive
from medusa_lib.beyond.one_pass import Branch, State, check_tree_fits, empty_cache
from medusa_lib.beyond.trees import follow, merge_branches
from medusa_lib.steps.model import LM


class LookaheadDrafter:
    """Bets with n-grams that the model itself guessed in earlier passes.

    A window of guesses stands over the text's end: `gram - 1` rows of `columns` tokens. The guess
    in row i and column j stands i + j places after the text's last token, which is the first of
    all. A pass says what follows each column: a new row, and with it each column is an n-gram of
    `gram` tokens for the pool. Then the oldest row goes. What follows the last token in the pool
    are the bets, the latest first, at most `bets`. Bets and window are one tree: the pass that
    verifies also looks ahead. With gram 2 and no bets this is Jacobi decoding, see family. For
    one run at a time. Raises ValueError for a knob out of range.
    """

    @checked
    def __init__(self, columns: Positive = 5, gram: Positive = 4, bets: Count = 5) -> None:
        self.columns, self.gram, self.bets = columns, check_int("gram", gram, 2), bets
        self.span = max(columns + gram - 3, gram - 1)
        self.forget()

    def forget(self) -> None:
        """Begin another text: no window, an empty pool."""
        self.rows: list[list[int]] = []
        self.pool: dict[int, list[tuple[int, ...]]] = {}  # token → what once followed it
        self.window: list[list[int]] = []  # the columns' branches in the pass under way

    def check_fits(self, lm: LM) -> None:
        """Raises ValueError for a model that takes no trees. Every run begins with it."""
        check_tree_fits(State(lm, [], *empty_cache(lm)))
        self.forget()

    def propose(self, state: State, span: int) -> Branch:
        """What the pool has to follow the last token, and the window: a tree of depth <= span."""
        if not self.rows:
            self.rows = first_window(state.ids, self.columns, self.gram - 1)
        self.rows[0][0] = state.ids[-1]
        bets = self.pool.get(state.ids[-1], [])[::-1]
        self.window = window_branches(self.rows)
        tokens, parents = merge_branches(branch[:span] for branch in (*bets, *self.window))
        return Branch(tokens, parents=parents)

    def look(self, branch: Branch, logits: torch.Tensor) -> None:
        """Read the new row off a pass, note the n-grams of its columns, drop the oldest row."""
        if branch.parents is None:
            return  # nothing was drafted
        best = logits.argmax(dim=-1).tolist()  # [len(branch) + 1]
        said = [said_after(column, branch, best) for column in self.window]
        for *column, token in zip(*self.rows, said, strict=True):
            if token is not None:
                self.note(column[0], (*column[1:], token))
        pairs = zip(said, self.rows[-1], strict=True)
        new = [old if token is None else token for token, old in pairs]
        self.rows = [*self.rows[1:], new]  # one token on: row 1 now stands where row 0 stood

    def note(self, first: int, rest: tuple[int, ...]) -> None:
        """An n-gram goes into the pool; of those with the same first token only the latest stay."""
        known = [gram for gram in self.pool.get(first, []) if gram != rest]
        self.pool[first] = [*known, rest][max(0, len(known) + 1 - self.bets) :]


def first_window(ids: list[int], columns: int, rows: int) -> list[list[int]]:
    """The guesses to begin with: the text, again and again, is as good as any."""
    filler = itertools.cycle(ids)
    return [list(itertools.islice(filler, columns)) for _ in range(rows)]


def window_branches(rows: list[list[int]]) -> list[list[int]]:
    """What stands above each column's next guess: the first row up to the column, then down it.

    The text's last token, which comes before all, is left out.
    """
    return [rows[0][1 : at + 1] + [row[at] for row in rows[1:]] for at in range(len(rows[0]))]


def said_after(wanted: list[int], branch: Branch, best: list[int]) -> int | None:
    """What the model says after one branch of a tree; None if it was cut off.

    best: the most probable token in each row of the pass, `[len(branch) + 1]`.
    """
    path, _ = follow(lambda path: [*wanted, -1][len(path)], branch.tokens, branch.parents)
    if len(path) < len(wanted):
        return None
    return best[path[-1] + 1 if path else 0]
