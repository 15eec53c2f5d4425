"""The course's words as settings of real systems: plain rows, each with its source and its date.

What was looked up is not run here, but for transformers, whose settings a test finds by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Flag, Span
from medusa_lib.steps.model import LM

NONE = "–"  # there is no such setting

# Words of the course; each system has at most one row for each.
WORDS = (
    "draft model",
    "n-gram",
    "heads",
    "self",
    "span",
    "unsure",
    "adaptive span",
    "tree",
    "typical",
    "same output",
)
SYSTEMS = ("transformers", "vLLM", "TensorRT-LLM", "llama.cpp", "SGLang")


@dataclass(frozen=True)
class Setting:
    """One row: how a word of the course is set in a system.

    setting: the name that is typed, `NONE` where there is none. default: what it is unless set.
    promise: what the system says about equal output, or what else to know. source: where that
    stands. seen: the version and the day on which it was looked up.
    """

    system: str
    word: str
    setting: str
    default: str
    promise: str
    source: str
    seen: str


HF = "https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/generation/"
VLLM = "https://github.com/vllm-project/vllm/blob/"
VLLM_DOC = f"{VLLM}01ed47b/docs/features/speculative_decoding/README.md"
VLLM_CODE = f"{VLLM}002e77c/vllm/config/speculative.py"
TRT_DOC = "https://github.com/NVIDIA/TensorRT-LLM/blob/04c8822/docs/source/features/"
TRT_PAGE = f"{TRT_DOC}speculative-decoding.md"
TRT_MEDUSA = "https://nvidia.github.io/TensorRT-LLM/examples/llm_medusa_decoding.html"
TRT_API = "https://nvidia.github.io/TensorRT-LLM/1.4.0rc4/llm-api/reference/"
TRT_NGRAM = f"{TRT_API}NGramDecodingConfig.html"
LLAMA = "https://github.com/ggml-org/llama.cpp/blob/067318e/docs/speculative.md"
LLAMA_P_MIN = "https://github.com/ggml-org/llama.cpp/pull/10801"
SGLANG = "https://github.com/sgl-project/sglang/blob/067ad4d/docs/advanced_features/"
SGLANG_DOC = f"{SGLANG}speculative_decoding.md"
DAY = "2026-11-28"

# system, then its version as seen, then (word, setting, default, promise, source)
_ROWS: dict[tuple[str, str], tuple[tuple[str, str, str, str, str], ...]] = {
    ("transformers", "5.23.0"): (
        ("draft model", "assistant_model", "None", "argument of generate", f"{HF}utils.py"),
        (
            "n-gram",
            "prompt_lookup_num_tokens",
            "None",
            "also the span; max_matching_ngram_size (2) is its n",
            f"{HF}configuration_utils.py",
        ),
        ("heads", NONE, "", "no Medusa heads", f"{HF}candidate_generator.py"),
        (
            "self",
            "assistant_early_exit",
            "None",
            "the first layers draft; only for models trained to exit early",
            f"{HF}configuration_utils.py",
        ),
        (
            "span",
            "num_assistant_tokens",
            "20",
            "read from the draft model's own generation_config",
            f"{HF}candidate_generator.py",
        ),
        (
            "unsure",
            "assistant_confidence_threshold",
            "0.4",
            "stop drafting below it; may adapt while it runs",
            f"{HF}configuration_utils.py",
        ),
        (
            "adaptive span",
            "num_assistant_tokens_schedule",
            "constant",
            'or "heuristic": 2 more after a full match, else 1 less',
            f"{HF}configuration_utils.py",
        ),
        ("tree", NONE, "", "one branch only", f"{HF}candidate_generator.py"),
        (
            "typical",
            "assistant_ensemble_weight",
            "None",
            "another relaxed rule: accepts by a mixture of both models; not lossless",
            f"{HF}configuration_utils.py",
        ),
        (
            "same output",
            "do_sample",
            "False",
            "greedy's text up to rounding; no rule for near ties",
            f"{HF}utils.py",
        ),
    ),
    ("vLLM", "main at 01ed47b and 002e77c"): (
        ("draft model", '"method": "draft_model"', "None", "with model", VLLM_DOC),
        (
            "n-gram",
            '"method": "ngram"',
            "None",
            "prompt_lookup_max and prompt_lookup_min (5, 5) are its n",
            VLLM_DOC,
        ),
        ("heads", '"method": "medusa"', "None", 'EAGLE: "eagle", "eagle3"', VLLM_CODE),
        ("self", '"method": "mtp"', "None", "heads that the model was trained with", VLLM_CODE),
        ("span", "num_speculative_tokens", "None", "an int > 0, for each loop", VLLM_DOC),
        ("unsure", "suffix_decoding_min_token_prob", "0.1", "suffix decoding only", VLLM_DOC),
        (
            "adaptive span",
            "suffix_decoding_max_spec_factor",
            "1.0",
            "suffix decoding only: span at most this times the match",
            VLLM_DOC,
        ),
        ("tree", NONE, "", "not among the documented keys", VLLM_DOC),
        (
            "typical",
            "rejection_sample_method",
            "strict",
            'names differ between versions: "strict" there, "standard" in later code',
            VLLM_DOC,
        ),
        (
            "same output",
            "VLLM_BATCH_INVARIANT",
            "off",
            "lossless up to hardware numerics; batch size may change a text; this makes it not",
            "https://docs.vllm.ai/en/v0.32.0/features/batch_invariance/",
        ),
    ),
    ("TensorRT-LLM", "main at 04c8822; 1.4.0rc4"): (
        ("draft model", "DraftTargetDecodingConfig", "", "with speculative_model", TRT_PAGE),
        ("n-gram", "NGramDecodingConfig", "", "max_matching_ngram_size (2) is its n", TRT_NGRAM),
        ("heads", "MedusaDecodingConfig", "", "older TensorRT engine only", TRT_MEDUSA),
        ("self", "MTPDecodingConfig", "", "heads that the model was trained with", TRT_PAGE),
        ("span", "max_draft_len", "None", "a field of each of these configs", TRT_PAGE),
        (
            "unsure",
            "acceptance_rate_threshold",
            "None",
            "below it drafting is switched off for good",
            TRT_NGRAM,
        ),
        (
            "adaptive span",
            "draft_len_schedule",
            "None",
            "by batch size, not by acceptance",
            TRT_NGRAM,
        ),
        (
            "tree",
            "use_dynamic_tree",
            "False",
            "of Eagle3DecodingConfig; dynamic_tree_max_topK, max_total_draft_tokens",
            TRT_PAGE,
        ),
        (
            "typical",
            "use_relaxed_acceptance_for_thinking",
            "False",
            "relaxed_topk, relaxed_delta; not exact, while the model thinks",
            TRT_PAGE,
        ),
        ("same output", NONE, "", "matching tokens are accepted; no promise of bits", TRT_PAGE),
    ),
    ("llama.cpp", "docs at 067318e"): (
        ("draft model", "--model-draft (-md)", "none", "a GGUF file", LLAMA),
        (
            "n-gram",
            "--spec-type ngram-simple",
            "none",
            "latest match; --spec-ngram-size-n (12) is its n",
            LLAMA,
        ),
        ("heads", NONE, "", "none here; later versions take EAGLE-3 and MTP", LLAMA),
        ("self", NONE, "", "n-gram kinds are called self-speculative", LLAMA),
        ("span", "--draft-max", "16", "newer (b9235): --spec-draft-n-max, default 3", LLAMA),
        ("unsure", "--draft-p-min", "by version", "least probability of a draft", LLAMA_P_MIN),
        ("adaptive span", "--draft-min", "0", "no shorter drafts than this are used", LLAMA),
        ("tree", "--draft-p-split", "by version", "in one example, not in the server", LLAMA_P_MIN),
        ("typical", NONE, "", "drafts must match what is sampled", LLAMA),
        ("same output", NONE, "", "what the main model accepts; nothing is promised", LLAMA),
    ),
    ("SGLang", "docs at 067ad4d"): (
        (
            "draft model",
            "--speculative-algorithm STANDALONE",
            "None",
            "with --speculative-draft-model-path",
            SGLANG_DOC,
        ),
        ("n-gram", "--speculative-algorithm NGRAM", "None", "graphics cards only", SGLANG_DOC),
        (
            "heads",
            "--speculative-algorithm EAGLE",
            "None",
            "EAGLE, EAGLE3; a small layer on the hidden states",
            SGLANG_DOC,
        ),
        ("self", NONE, "", "a model's own MTP heads run as EAGLE", SGLANG_DOC),
        ("span", "--speculative-num-steps", "auto: 5 or 3", "depth of the tree", SGLANG_DOC),
        ("unsure", NONE, "", "see the thresholds of acceptance", SGLANG_DOC),
        ("adaptive span", NONE, "", "none here; newer docs: with EAGLE and topk 1", SGLANG_DOC),
        (
            "tree",
            "--speculative-eagle-topk",
            "auto: 4 or 1",
            "guesses for each node; --speculative-num-draft-tokens is the budget",
            SGLANG_DOC,
        ),
        (
            "typical",
            "--speculative-accept-threshold-single",
            "1.0",
            "below 1 it accepts more, and is not exact",
            SGLANG_DOC,
        ),
        ("same output", NONE, "", "strict at thresholds of 1.0; nothing is promised", SGLANG_DOC),
    ),
}


def _settings() -> Iterator[Setting]:
    for (system, version), rows in _ROWS.items():
        for word, setting, default, promise, source in rows:
            yield Setting(system, word, setting, default, promise, source, f"{version}, {DAY}")


SETTINGS = tuple(_settings())


def setting_for(system: str, word: str) -> Setting:
    """The row of a system and a word. Raises ValueError for one that the table has not."""
    if system not in SYSTEMS:
        raise ValueError(f"system must be one of {', '.join(SYSTEMS)}, got {system!r}")
    if word not in WORDS:
        raise ValueError(f"word must be one of {', '.join(WORDS)}, got {word!r}")
    return next(row for row in SETTINGS if (row.system, row.word) == (system, word))


def names_by_word(systems: Sequence[str] = SYSTEMS) -> list[list[str]]:
    """A row for each word of the course: the word, then the setting of each of some systems."""
    return [[word, *(setting_for(system, word).setting for system in systems)] for word in WORDS]


@checked
def assistant(lm: LM, span: Span, sure: float = 0.0, heuristic: Flag = False) -> PreTrainedModel:
    """A draft model as transformers wants it: what to draft stands in its generation config.

    A copy of the config, so that the draft model itself stays as it was. sure: below this
    probability of its token it stops, in [0, 1]. heuristic: the span follows the acceptance.
    """
    model = lm.model
    config = type(model.generation_config).from_dict(model.generation_config.to_dict())
    config.num_assistant_tokens = span
    config.assistant_confidence_threshold = float(sure)
    config.num_assistant_tokens_schedule = "heuristic" if heuristic else "constant"
    return _with_config(model, config)


def _with_config(model: PreTrainedModel, config: object) -> PreTrainedModel:
    """The same weights under another generation config."""
    with torch.device("meta"):
        twin = type(model)(model.config)
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.tie_weights()
    twin.generation_config = config
    return twin.eval()
