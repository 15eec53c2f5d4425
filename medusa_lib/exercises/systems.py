"""BEYOND10's exercises."""

from __future__ import annotations

from collections.abc import Callable

from medusa_lib.exercises.grading import Answers, grade


def _to_llama(config: dict[str, object]) -> Answers:
    span = config["num_speculative_tokens"]
    if config["method"] == "draft_model":
        wanted = f"--model-draft {config['model']} --draft-max {span}"
        return wanted, (
            (f"--draft-max {span}", "the draft model itself is missing"),
            (f"--draft-max {span} --model-draft {config['model']}", "put what drafts first"),
            (f"-md {config['model']} --draft-max {span}", "write the long name, --model-draft"),
        )
    n, kind = config["prompt_lookup_max"], "--spec-type ngram-simple"
    return f"{kind} --spec-ngram-size-n {n} --draft-max {span}", (
        (f"{kind} --spec-ngram-size-n {span} --draft-max {n}", "span and n are swapped"),
        (f"--spec-ngram-size-n {n} --draft-max {span}", "nothing switches the drafter on"),
        (f"{kind} --draft-max {span}", "the n of the n-gram is missing"),
    )


def check_to_llama(attempt: Callable) -> str:
    """BEYOND10. attempt(config) → vLLM's speculative_config as options of llama.cpp."""
    cases = (
        ({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3},),
        ({"method": "draft_model", "model": "small.gguf", "num_speculative_tokens": 5},),
        ({"method": "ngram", "num_speculative_tokens": 16, "prompt_lookup_max": 2},),
    )
    return grade(attempt, cases, _to_llama, otherwise="it is {wanted!r}, yours was {answer!r}")


def _heuristic(span: int, drafted: int, accepted: int) -> Answers:
    full = accepted == drafted
    wanted = span + 2 if full else max(1, span - 1)
    return wanted, (
        (max(1, span - 1) if full else span + 2, "the other way round"),
        (span - 1, "a span of 0 would never draft again: 1 is the least"),
        (span + 1, "after a full match it grows by 2"),
        (span, "it always changes, but for a span of 1 that failed"),
    )


def check_heuristic(attempt: Callable) -> str:
    """BEYOND10. attempt(span, drafted, accepted) → the next span by transformers' heuristic."""
    cases = ((4, 4, 4), (6, 6, 2), (1, 1, 0), (3, 2, 2), (5, 5, 0), (2, 2, 1))
    return grade(attempt, cases, _heuristic, at="span {}, drafted {}, accepted {}: ")
