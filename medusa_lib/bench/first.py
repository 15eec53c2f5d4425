"""How long a user waits for the first text of a fresh process.

python -m medusa_lib.bench.first MODEL DEVICE THREADS DRAFTER
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from medusa_lib.base.config import shipped_folder
from medusa_lib.beyond.heads_files import HEADS_VARIABLE, heads_fit, heads_folder
from medusa_lib.beyond.one_pass import State, takes_masks
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.model import LM, load_lm

PROMPT, TOKENS = "Once upon a time", 16


def in_a_folder(model_id: str) -> bool:
    """True for a model that another process finds without a network."""
    return shipped_folder(model_id).is_dir() or Path(model_id).is_dir()


def first_speculate(lm: LM, rounds: int) -> float | None:
    """Median seconds from the end of all imports to the end of the first text, model loaded.

    A first process, whose time is not counted, leaves on disk what the others find there. None
    for a model in no folder. Raises ChildProcessError for a process that fails.
    """
    if not in_a_folder(lm.model_id):
        return None
    tree = heads_fit(lm) and takes_masks(State.start(lm, []))
    heads = {HEADS_VARIABLE: str(heads_folder(lm).absolute())} if tree else {}
    given = (lm.model_id, str(lm.device), str(torch.get_num_threads()))
    words = *given, "heads_tree" if tree else "ngram"
    times = [seconds_of(*words, **heads) for _ in range(rounds + 1)]
    return statistics.median(times[1:])


def seconds_of(*words: str, **variables: str) -> float:
    """What one fresh process says, with some variables in its environment.

    Raises ChildProcessError if it says no number.
    """
    command = [sys.executable, "-m", "medusa_lib.bench.first", *words]
    settings = {"capture_output": True, "text": True, "encoding": "utf-8"}
    ran = subprocess.run(command, check=False, env={**os.environ, **variables}, **settings)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or [""])[-1]
        raise ChildProcessError(f"the first text of a fresh process failed: {last}")
    return float(ran.stdout)


def main(argv: Sequence[str] | None = None) -> None:
    """Load, write one text, print the seconds since everything was imported.

    Also transformers' classes, which are imported when a model is first loaded; the engine's
    libraries are not among that.
    """
    model, device, threads, drafter = sys.argv[1:] if argv is None else argv
    from transformers import GPT2LMHeadModel, LlamaForCausalLM  # noqa: F401, PLC0415

    began = time.perf_counter()
    torch.set_num_threads(int(threads))
    speculate(load_lm(model, device), PROMPT, drafter, TOKENS)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
