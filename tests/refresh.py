"""Run notebooks and store their outputs as the tests want them: `python tests/refresh.py FILE …`.

One clean run from top to bottom, without widget states, times or anything of this machine.
"""

import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor

SECONDS = 600  # for one cell
OPTIONS = {"store_widget_state": False, "record_timing": False, "coalesce_streams": True}


def refresh(path: Path) -> None:
    """Run a notebook in its folder and write its outputs into it; a failing one stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    runner = ExecutePreprocessor(timeout=SECONDS, **OPTIONS)
    runner.preprocess(notebook, {"metadata": {"path": str(path.parent)}})
    notebook.metadata["language_info"] = {"name": "python"}
    for part in (notebook, *notebook.cells):
        for key in ("widgets", "execution"):
            part.metadata.pop(key, None)
    nbformat.write(notebook, path)


def main(paths: list[str]) -> None:
    """Refresh each notebook; the first that fails ends it with its error."""
    for path in map(Path, paths):
        try:
            refresh(path)
        except (OSError, CellExecutionError) as error:
            sys.exit(f"{path}: {error}")
        print(f"{path}: outputs stored")


if __name__ == "__main__":
    main(sys.argv[1:])
