"""Several branches for one loop, verified one after the other: the longest wins.

What MedusaLite does, the step between one branch and a tree. It accepts more tokens in a loop
than one branch does, and pays for each branch: see tree_attention for the same in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from medusa_lib.base.checks import check_int, checked
from medusa_lib.base.words import Generator, Ids, Parents, Positive, Temperature, TopP
from medusa_lib.beyond.drafters import ModelDrafter
from medusa_lib.beyond.one_pass import Branch, State, check_tree_fits, one_pass, roll_back
from medusa_lib.beyond.trees import follow, merge_branches
from medusa_lib.steps.model import LM
from medusa_lib.steps.prefix_accept import prefix_accept_once
from medusa_lib.steps.utilities import check_fits


@checked
def accept_longest(
    lm: LM, ids: Ids, branches: Sequence[Sequence[int]]
) -> tuple[Ids, int, list[int]]:
    """Accept a prefix of each branch, keep the longest → (grown ids, winner, accepted counts).

    The ids `[1, T]` grow by the winner's accepted tokens and, unless it was accepted whole, by
    greedy's correction. Of equally long ones the first wins. One forward pass per evaluated
    token of every branch. Raises ValueError as prefix_accept_once does, before any pass.
    """
    check_branches(lm, ids, branches)
    tries = [prefix_accept_once(lm, ids, branch) for branch in branches]
    counts = [accepted for _, accepted in tries]
    winner = counts.index(max(counts))
    return tries[winner][0], winner, counts


def check_branches(lm: LM, ids: Ids, branches: Sequence[Sequence[int]]) -> None:
    """Raises ValueError unless there is a branch, and each has tokens that fit the model."""
    if not isinstance(branches, Sequence) or not len(branches):
        raise ValueError(f"branches must be a list of at least 1 branch, got {branches!r}")
    for branch in branches:
        if not isinstance(branch, Sequence) or not len(branch):
            raise ValueError(f"each of branches must be a list of at least 1 token, got {branch!r}")
        for token in branch:
            check_int("branch token", token, 0)
    check_fits(lm, ids, max(map(len, branches)) - 1)


def evaluated(branches: Sequence[Sequence[int]], counts: Sequence[int]) -> int:
    """Verify passes that `accept_longest` spent: the accepted tokens and the first rejected one."""
    pairs = zip(branches, counts, strict=True)
    return sum(min(accepted + 1, len(branch)) for branch, accepted in pairs)


class BranchesDrafter:
    """Bets with several branches that the model itself draws, merged into one tree.

    As MedusaLite does, which verifies them one after the other. count: branches. temperature,
    top_p: of the draws, STEP4's by default. A pass draws the next token of all branches.
    """

    span = 3

    @checked
    def __init__(
        self,
        lm: LM,
        generator: Generator,
        count: Positive = 3,
        temperature: Temperature = 0.9,
        top_p: TopP = 0.95,
    ) -> None:
        self.lm, self.generator, self.count = lm, generator, count
        self.temperature, self.top_p = temperature, top_p
        self.model = ModelDrafter(lm, temperature, top_p, generator)

    def check_fits(self, lm: LM) -> None:
        """Raises ValueError for a model that takes no trees."""
        check_tree_fits(State.start(lm, []))

    def propose(self, state: State, span: int) -> Branch:
        """A tree of `count` branches of up to `span` tokens; fewer where its context ends.

        Raises ValueError for ids outside the vocabulary.
        """
        self.model.check_known(state.ids)
        try:
            return self.draw(state.ids, min(span, self.lm.context_length - len(state.ids)))
        except BaseException:  # also an interrupt: its cache may be half grown
            self.model.own = None
            raise

    def draw(self, ids: list[int], span: int) -> Branch:
        """The branches to follow `ids`, a pass for the next token of all of them."""
        if span < 1:
            return Branch()
        self.model.catch_up(ids)
        own, branches, passes = self.model.own, [[] for _ in range(self.count)], 0
        while passes < span and not all(map(self.has_ended, branches)):
            tokens, parents = merge_branches(branches)
            logits = one_pass(own, tokens, parents if tokens else None)
            passes += 1
            roll_back(own, len(own.ids) - 1)  # the last id is fed again: its row comes first
            rows = [path_rows(branch, tokens, parents) for branch in branches]
            for branch, row in zip(branches, rows, strict=True):
                if not self.has_ended(branch):
                    branch.append(self.model.pick(logits[row])[0])
        tokens, parents = merge_branches(branches)
        return Branch(tokens, passes=passes, parents=parents)

    def has_ended(self, branch: list[int]) -> bool:
        """True for a branch whose text ends."""
        return any(map(self.lm.is_end, branch))


def path_rows(branch: list[int], tokens: list[int], parents: Parents) -> int:
    """The row of a pass over a tree that says what follows `branch`: 0 for an empty one."""
    path, _ = follow(lambda path: ([*branch, -1])[len(path)], tokens, parents)
    return path[-1] + 1 if path else 0
