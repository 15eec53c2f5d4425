from graded import Graded

from medusa_lib.exercises.tree_attention import check_follow_tree


def follow(tokens, parents, choices):
    added, at = [], -1
    while True:
        added.append(choices[at + 1])
        here = [i for i, parent in enumerate(parents) if parent == at and tokens[i] == added[-1]]
        if not here:
            return added
        at = here[0]


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
