"""Sweeps: how do α, τ and seconds depend on the knobs, the drafter, the model and the prompt?

`python -m medusa_lib.sweep GRID.toml --out FOLDER` asks on many processes, and `load(FOLDER)`
reads the answer. A lesson asks in its own process, by `run_grid(Grid(…), {"bookworm": lm})`.
Only the command and `load` need `pip install -e '.[sweep]'`.
"""

from medusa_lib.sweep.grid import Grid
from medusa_lib.sweep.report import load
from medusa_lib.sweep.runs import SweepRow, by_setting, run_grid

__all__ = ["Grid", "SweepRow", "load", "by_setting", "run_grid"]
