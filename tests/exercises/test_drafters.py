from graded import Graded

from medusa_lib.exercises.drafters import check_ngram_lookup


def lookup(ids, n, span, latest=True):
    ends = [end for end in range(n, len(ids)) if ids[end - n : end] == ids[-n:]]
    end = ends[-1 if latest else 0] if ends else len(ids)
    return ids[end : end + span]


class TestNgramLookup(Graded):
    check = staticmethod(check_ngram_lookup)
    solution = staticmethod(lookup)
    wrong = {
        "the earliest place": lambda ids, n, span: lookup(ids, n, span, latest=False),
        "that is more than span = 2 tokens": lambda ids, n, span: lookup(ids, n, 99),
        "without the n tokens": lambda ids, n, span: ids[-n:] + lookup(ids, n, span),
        "right after the match is missing": lambda ids, n, span: lookup(ids, n, span)[1:],
        "the last n tokens match themselves": lambda ids, n, span: [],
        "stop where the list ends": lambda ids, n, span: (lookup(ids, n, span) * span)[:span],
        "return a list of at most 2 ids, yours was 4": lambda ids, n, span: 4,
        "it is [4, 8], yours was [1, 2]": lambda ids, n, span: ids[:2],
    }
