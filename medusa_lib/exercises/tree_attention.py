"""BEYOND5's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.beyond.trees import follow
from medusa_lib.exercises.grading import as_list, check, run_attempt

TREES = (  # tokens, parents, the model's choice in each row of one pass (one more than tokens)
    ([7, 3, 5, 4, 2], (-1, 0, 0, -1, 2), [7, 5, 9, 2, 5, 8]),
    ([7, 3, 5, 4, 5], (-1, 0, 0, -1, 3), [4, 5, 9, 6, 5, 8]),
    ([7, 3, 5, 4, 5], (-1, 0, 0, -1, 3), [6, 5, 9, 6, 5, 8]),
    ([7, 3, 5, 4, 5], (-1, 0, 0, -1, 3), [7, 4, 9, 6, 5, 8]),
    ([2, 6, 6, 1], (-1, -1, 0, 2), [2, 6, 3, 1, 9]),
    ([], (), [3]),
)


def check_tree_positions(attempt: Callable) -> str:
    """BEYOND5. attempt(parents, before) → each drafted token's position in the text."""

    def verdict(f: Callable) -> str | None:
        for parents, before in (((-1, 0, 0, -1, 3), 3), ((-1, -1, 1, 2), 10), ((-1,), 1)):
            depths: list[int] = []
            for parent in parents:
                depths.append(1 + depths[parent] if parent >= 0 else 1)
            wanted = [before - 1 + depth for depth in depths]
            answer = as_list(run_attempt(f, list(parents), before))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            mistakes = (
                ([before + i for i in range(len(parents))], "that is the order in the list"),
                ([n + 1 for n in wanted], "positions count from 0, so the first is `before`"),
                (depths, "those are the depths; the text stands before them"),
                ([n - 1 for n in depths], "the text stands before them: add `before`"),
                ([before + parent for parent in parents], "add up depths, not places in the list"),
                (answer, f"they are {wanted}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"parents {list(parents)}, before {before}: {said}"
        return None

    return check(verdict, attempt)


def check_follow_tree(attempt: Callable) -> str:
    """BEYOND5. attempt(tokens, parents, choices) → the tokens that this loop adds to the text."""

    def verdict(f: Callable) -> str | None:
        for tokens, parents, choices in TREES:
            path, following = follow(
                lambda path, says=choices: says[path[-1] + 1 if path else 0], tokens, parents
            )
            accepted = [tokens[place] for place in path]
            wanted = [*accepted, following]
            answer = as_list(run_attempt(f, list(tokens), list(parents), list(choices)))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            straight = next((i for i, c in enumerate(choices[:-1]) if c != tokens[i]), len(tokens))
            mistakes = (
                (accepted, "the last token is missing: the correction or the bonus"),
                (path, "those are places in the tree; return the tokens there"),
                (choices[: straight + 1], "that reads the list in a row; the next is a child"),
                (choices, "those are all choices, also after tokens that were not accepted"),
                (tokens, "those are all drafts, also the wrong ones"),
                (answer, f"{wanted} is to be added, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"tokens {tokens}, parents {list(parents)}, choices {choices}: {said}"
        return None

    return check(verdict, attempt)
