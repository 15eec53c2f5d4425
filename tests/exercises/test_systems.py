from graded import Graded

from medusa_lib.exercises.systems import check_heuristic, check_to_llama


def to_llama(config):
    span = config["num_speculative_tokens"]
    if config["method"] == "draft_model":
        return f"--model-draft {config['model']} --draft-max {span}"
    n = config["prompt_lookup_max"]
    return f"--spec-type ngram-simple --spec-ngram-size-n {n} --draft-max {span}"


def ngram_only(text):
    """An attempt that answers so for n-grams, with {n} and {span}, and is right for the rest."""

    def attempt(config):
        if config["method"] == "draft_model":
            return to_llama(config)
        known = {"n": config["prompt_lookup_max"], "span": config["num_speculative_tokens"]}
        return text.format(**known)

    return attempt


class TestToLlama(Graded):
    check = staticmethod(check_to_llama)
    solution = staticmethod(to_llama)
    wrong = {
        "span and n are swapped": ngram_only(
            "--spec-type ngram-simple --spec-ngram-size-n {span} --draft-max {n}"
        ),
        "nothing switches the drafter on": ngram_only("--spec-ngram-size-n {n} --draft-max {span}"),
        "the n of the n-gram is missing": ngram_only("--spec-type ngram-simple --draft-max {span}"),
        "the long name": lambda config: to_llama(config).replace("--model-draft", "-md"),
        "return the whole text": lambda config: 4,
    }


class TestHeuristic(Graded):
    check = staticmethod(check_heuristic)
    solution = staticmethod(
        lambda span, drafted, accepted: span + 2 if accepted == drafted else max(1, span - 1)
    )
    wrong = {
        "the other way round": lambda s, d, a: max(1, s - 1) if a == d else s + 2,
        "1 is the least": lambda s, d, a: s + 2 if a == d else s - 1,
        "it grows by 2": lambda s, d, a: s + 1 if a == d else max(1, s - 1),
        "it always changes": lambda s, d, a: s,
    }
