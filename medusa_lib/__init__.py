"""Medusa, step by step: draft and verify decoding, one small module per lesson."""

from medusa_lib.base.config import Cfg
from medusa_lib.base.metrics import (
    acceptance_rate,
    draft_efficiency,
    first_difference,
    mean_accepted_length,
    metrics,
    passes_per_token,
    speedup,
)
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.beyond.speculative import speculate, stream
from medusa_lib.demo import Comparison, compare, describe_loop, report
from medusa_lib.steps.device import make_generator, pick_device, set_seed
from medusa_lib.steps.drafter import propose_branch, propose_one
from medusa_lib.steps.loops import medusa_loop_step, medusa_tiny, run_greedy
from medusa_lib.steps.model import LM, ModelLoadError, load_lm, load_model, load_tokenizer, make_lm
from medusa_lib.steps.prefix_accept import accept_one, prefix_accept_once
from medusa_lib.steps.sampling import sample_next, softmax_temp, top_p_indices
from medusa_lib.steps.utilities import append_token, decode, encode, greedy_next, last_logits

__all__ = [
    "LM",
    "Cfg",
    "Comparison",
    "Generation",
    "LoopRecord",
    "ModelLoadError",
    "accept_one",
    "acceptance_rate",
    "append_token",
    "compare",
    "decode",
    "describe_loop",
    "draft_efficiency",
    "encode",
    "first_difference",
    "greedy_next",
    "last_logits",
    "load_lm",
    "load_model",
    "load_tokenizer",
    "make_generator",
    "make_lm",
    "mean_accepted_length",
    "medusa_loop_step",
    "medusa_tiny",
    "metrics",
    "passes_per_token",
    "pick_device",
    "prefix_accept_once",
    "propose_branch",
    "propose_one",
    "report",
    "run_greedy",
    "sample_next",
    "set_seed",
    "softmax_temp",
    "speculate",
    "speedup",
    "stream",
    "top_p_indices",
]
