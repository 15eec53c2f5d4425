from graded import Graded

from medusa_lib.exercises.drafters import check_break_even_cost, check_ngram_lookup


def lookup(ids, n, span, latest=True):
    ends = [end for end in range(n, len(ids)) if ids[end - n : end] == ids[-n:]]
    end = ends[-1 if latest else 0] if ends else len(ids)
    return ids[end : end + span]


def expected(alpha, span):
    return sum(alpha**i for i in range(span + 1))


class TestNgramLookup(Graded):
    check = staticmethod(check_ngram_lookup)
    solution = staticmethod(lookup)
    wrong = {
        "the earliest place": lambda ids, n, span: lookup(ids, n, span, latest=False),
        "that is more than span = 2 tokens": lambda ids, n, span: lookup(ids, n, 99),
        "without the n tokens": lambda ids, n, span: ids[-n:] + lookup(ids, n, span),
        "right after the match is missing": lambda ids, n, span: lookup(ids, n, span)[1:],
        "the last n tokens match themselves": lambda ids, n, span: [],
        "return a list of at most 2 ids, yours was 4": lambda ids, n, span: 4,
        "it is [4, 8], yours was [1, 2]": lambda ids, n, span: ids[:2],
    }


class TestBreakEvenCost(Graded):
    check = staticmethod(check_break_even_cost)
    solution = staticmethod(lambda alpha, span: (expected(alpha, span) - 1) / span)
    wrong = {
        "take it off before you divide": lambda alpha, span: expected(alpha, span) / span,
        "the cost of the whole branch": lambda alpha, span: expected(alpha, span) - 1,
        "those are the tokens per loop": expected,
        "return one number": lambda alpha, span: [alpha],
        "it is 0.3750, yours was 0.5": lambda alpha, span: alpha,
    }
