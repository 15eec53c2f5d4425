"""How nbgrader grades the course: copy this file into the course's folder, and change it there.

nbgrader runs it when it starts, and hands it `get_config`.
"""

import os
import re
import sys
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearOutput,
    ComputeChecksums,
    IncludeHeaderFooter,
    LockCells,
    NbGraderPreprocessor,
    SaveCells,
)

FOLDED = re.compile(r"<details><summary>Solution</summary>.*?</details>\s*", re.S)


class LeaveOutSolutions(NbGraderPreprocessor):
    """Takes the folded solutions out of what learners get; hints and answers stay."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict, index: int
    ) -> tuple[NotebookNode, dict]:
        """A cell without its folded solutions; only its text can hold any."""
        if cell.cell_type == "markdown":
            cell.source = FOLDED.sub("", cell.source)
        return cell, resources


# nbgrader calls the program `alembic` by its bare name, also where no environment is activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"

c = get_config()  # noqa: F821

# Learners start from the course's own stubs: ClearSolutions, which is left out of this list, would
# put `raise NotImplementedError()` in the place of a stub, its function's name and arguments too.
c.GenerateAssignment.preprocessors = [
    IncludeHeaderFooter,
    LockCells,
    LeaveOutSolutions,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    SaveCells,
    CheckCellMetadata,
]
c.LeaveOutSolutions.enabled = True  # False: learners find the folded solutions, as in the course

c.OverwriteCells.add_missing_cells = True  # a check that a learner has deleted

c.Execute.timeout = 300  # seconds for one cell; nbgrader's 30 are few for cells that measure
c.Execute.iopub_timeout = 60  # a busy machine answers late
