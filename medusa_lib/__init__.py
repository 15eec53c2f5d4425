"""Medusa, step by step: draft and verify decoding, one small file per lesson.

Start here. Folders are floors, files are lessons. A file imports only from floors below its
own and, on its own floor, earlier lessons; `lint-imports` holds that (pyproject.toml).

The floors, from the ground up
    base/       words that all speak: input checks, Cfg, records, their figures, the lessons' list
    steps/      STEP0 to STEP6: device, model, utilities, sampling, drafter, prefix_accept, loops
    engine/     the quick forward pass and the KV cache; no lesson depends on how they work
    beyond/     the cure: trees, masks, one pass, drafters, exact sampling, heads, and its loop
    demo.py     STEP7: both decoders, and the cure, on one prompt
    measure/    stopwatch, formulas, roofline, replay, and transformers' own decoders
    sweep/      many runs by key, here or on a cluster: `python -m medusa_lib.sweep`
    teaching/   one room a lesson: its figure, its view, its panel; shared/ (with the
                HTML templates) and toys/ below them
    exercises/  one file of graders a lesson, apart because they give answers away
    bench/      `python -m medusa_lib.bench` and `python -m medusa_lib.bench.numerics`
    site/       `python -m medusa_lib.site`: the course as static web pages; templates/, static/
    training/   from books to weights and their card; heads
    classroom/  `python -m medusa_lib.classroom`: JupyterHub, progress, nbgrader; labconfig/
    pretrained/ data only: bookworm, its draft model bookmite, bookworm_heads, bookworm_exits

Which may import which
    steps         base
    engine        those, and steps
    beyond        those, and engine
    demo.py       those, and beyond
    measure       those, and demo.py
    sweep         those, and measure
    teaching      those, and sweep; a room only shared/, toys/ and earlier rooms of teaching
    exercises, bench, site, training
                  those, and teaching, but not each other
    classroom     those, and exercises
    __main__.py   `python -m medusa_lib`: anything
    Only classroom/ and site/ know a notebook, and teaching/shared/cells.py, which records its
    panels for a page; base/ and steps/ know neither plots nor widgets.

A lesson's word names its file on every floor. STEP3's word is `sampling`:
    medusa_lib/steps/sampling.py           the code that it teaches
    medusa_lib/teaching/sampling.py        its panel
    medusa_lib/exercises/sampling.py       its graders
    tests/steps/test_sampling.py           and their tests
    tests/teaching/test_sampling.py
    tests/exercises/test_sampling.py
    notebooks/STEP3_sampling.ipynb         the lesson
The words are listed in medusa_lib/base/course.py.

To add something (tests/test_adding.py does each of these in a copy)
    A drafter: three files. Its class, with `propose(state, span)` → Branch, in a new file of
        medusa_lib/beyond/; its name in medusa_lib/beyond/named_drafters.py and, for the panels,
        in medusa_lib/teaching/shared/controls.py.
    A lesson: three files. A row at the end of BEYOND in medusa_lib/base/course.py (and a phrase
        for STEP0's map in its PHRASES), the code in medusa_lib/beyond/, the notebook in
        notebooks/beyond/. `python tests/refresh.py` alone then writes README's row, the links
        between neighbours and the counted minutes.
    A panel: two files. Its room, on Panel of medusa_lib/teaching/shared/panel.py and the
        sliders of medusa_lib/teaching/shared/controls.py; the cell of the notebook that shows it.
        Its `grid` says at which values a page without Python shows it.
    An exercise: two files. Its grader in the lesson's file of medusa_lib/exercises/, on `check`
        of medusa_lib/exercises/grading.py; in the notebook a cell with the stub, and one with
        the check below it.
Beside them, a test in the folder of tests/ that bears the floor's name.

Everything below is importable from `medusa_lib` itself. A file is read when a name of it is first
asked for, so that nobody pays for torch who only wants the list of lessons.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from medusa_lib.beyond.heads_files import use_heads
    from medusa_lib.beyond.pieces import text_pieces
    from medusa_lib.beyond.speculative import speculate, stream
    from medusa_lib.demo import Comparison, compare, describe_loop, report
    from medusa_lib.steps.device import make_generator, pick_device, set_seed
    from medusa_lib.steps.drafter import propose_branch, propose_one
    from medusa_lib.steps.loops import medusa_loop_step, medusa_tiny, run_greedy
    from medusa_lib.steps.model import (
        LM,
        ModelLoadError,
        load_lm,
        load_model,
        load_tokenizer,
        make_lm,
    )
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
    "text_pieces",
    "top_p_indices",
    "use_heads",
]


def _places() -> dict[str, str]:
    """The module of each public name, as the imports above have it; only editors run those."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.name: node.module for node in imports for name in node.names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_places()[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
