from graded import Graded

from medusa_lib.exercises.family import check_jacobi_guess


def step(after, last, guess):
    return [after[token] for token in [last, *guess[:-1]]]


def greedy(after, last, guess):
    text = [last]
    for _ in guess:
        text.append(after[text[-1]])
    return text[1:]


class TestJacobiGuess(Graded):
    check = staticmethod(check_jacobi_guess)
    solution = staticmethod(step)
    wrong = {
        "that is greedy's text": greedy,
        "the first place follows the last token": lambda a, _last, g: [a[t] for t in g],
        "that is the old guess": lambda _a, _last, g: g,
        "one place too many": lambda a, last, g: [a[t] for t in [last, *g]],
        "the first place is missing": lambda a, last, g: step(a, last, g)[1:],
        "return a list of 3 ids, yours was 4": lambda _a, _last, _g: 4,
    }
