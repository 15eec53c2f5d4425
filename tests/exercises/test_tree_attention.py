from graded import Graded

from medusa_lib.exercises.tree_attention import check_follow_tree, check_tree_positions


def positions(parents, before):
    found = []
    for parent in parents:
        found.append(before if parent < 0 else found[parent] + 1)
    return found


def follow(tokens, parents, choices):
    added, at = [], -1
    while True:
        added.append(choices[at + 1])
        here = [i for i, parent in enumerate(parents) if parent == at and tokens[i] == added[-1]]
        if not here:
            return added
        at = here[0]


class TestTreePositions(Graded):
    check = staticmethod(check_tree_positions)
    solution = staticmethod(positions)
    wrong = {
        "order in the list": lambda parents, before: [before + i for i in range(len(parents))],
        "count from 0": lambda parents, before: positions(parents, before + 1),
        "those are the depths": lambda parents, before: positions(parents, 1),
        "add `before`": lambda parents, before: positions(parents, 0),
        "add up depths": lambda parents, before: [before + p for p in parents],
        "they are [3, 4, 4, 3, 4]": lambda parents, before: before,
    }


class TestFollowTree(Graded):
    check = staticmethod(check_follow_tree)
    solution = staticmethod(follow)
    wrong = {
        "the last token is missing": lambda t, p, c: follow(t, p, c)[:-1],
        "is a child": lambda t, p, c: c[: len(follow(t, range(-1, len(t) - 1), c))],
        "those are all choices": lambda t, p, c: c,
        "those are all drafts": lambda t, p, c: t,
        "return the tokens there": lambda t, p, c: [0, 2, 4],
        "[7, 5, 2, 8] is to be added": lambda t, p, c: c[:1],
    }
