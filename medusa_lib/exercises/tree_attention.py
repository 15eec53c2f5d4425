"""BEYOND7's exercise."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.beyond.trees import follow
from medusa_lib.exercises.grading import Answers, grade


def _follow_tree(tokens: list[int], parents: list[int], choices: list[int]) -> Answers:
    path, last = follow(lambda path: choices[path[-1] + 1 if path else 0], tokens, parents)
    accepted = [tokens[place] for place in path]
    straight = next((i for i, token in enumerate(tokens) if token != choices[i]), len(tokens))
    return [*accepted, last], (
        (accepted, "the last token is missing: the correction or the bonus"),
        (path, "those are places in the tree; return the tokens there"),
        (choices[: straight + 1], "that reads the list in a row; the next is a child"),
        (choices, "those are all choices, also after tokens that were not accepted"),
        (tokens, "those are all drafts, also the wrong ones"),
    )


def check_follow_tree(attempt: Callable) -> str:
    """BEYOND7. attempt(tokens, parents, choices) → the tokens that this loop adds to the text."""
    cases = (  # tokens, parents, the model's choice in each row of one pass (one more than tokens)
        ([7, 3, 5, 4, 2], [-1, 0, 0, -1, 2], [7, 5, 9, 2, 5, 8]),
        ([7, 3, 5, 4, 5], [-1, 0, 0, -1, 3], [4, 5, 9, 6, 5, 8]),
        ([7, 3, 5, 4, 5], [-1, 0, 0, -1, 3], [6, 5, 9, 6, 5, 8]),
        ([7, 3, 5, 4, 5], [-1, 0, 0, -1, 3], [7, 4, 9, 6, 5, 8]),
        ([2, 6, 6, 1], [-1, -1, 0, 2], [2, 6, 3, 1, 9]),
        ([], [], [3]),
    )
    at = "tokens {}, parents {}, choices {}: "
    return grade(attempt, cases, _follow_tree, at, "{wanted} is to be added, yours was {answer!r}")
