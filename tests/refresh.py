"""Run notebooks and store their outputs as the tests want them: `python tests/refresh.py FILE …`.

One clean run from top to bottom, without widget states, times or anything of this machine.
Without a file: README's table of lessons, and the links from each lesson to the next, are
brought in step with `medusa_lib/base/course.py`.
"""

import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor

from medusa_lib.base.course import BEYOND, LESSONS, STEPS, Lesson

ROOT = Path(__file__).parents[1]
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


def title(lesson: Lesson) -> str:
    """Such as "STEP5 prefix accept"."""
    return f"{lesson.name} {lesson.word.replace('_', ' ').replace('medusa', 'Medusa')}"


def update_readme(path: Path) -> None:
    """Write README's table of lessons anew."""
    rows = (
        f"| [{title(lesson)}](notebooks/{lesson.notebook}) | {lesson.learn} | `{lesson.file}` |"
        for lesson in LESSONS
    )
    table = "\n".join(["| lesson | you learn | backed by |", "| --- | --- | --- |", *rows])
    old = re.compile(r"\| lesson \| you learn .*?(?=\n\n)", re.S)
    path.write_text(old.sub(lambda _: table, path.read_text(encoding="utf-8")), encoding="utf-8")


def link(path: Path, following: Lesson) -> None:
    """Let a notebook's line of neighbours end with the lesson that follows, if it lacks it."""
    notebook, name = nbformat.read(path, as_version=4), Path(following.notebook).name
    first = notebook.cells[0]
    if f"({name})" not in first.source:
        first.source += f" · [{title(following)}]({name}) →"
        nbformat.write(notebook, path)


def main(paths: list[str]) -> None:
    """Refresh each notebook, the first that fails ends it with its error; none: see above."""
    if not paths:
        update_readme(ROOT / "README.md")
        for lesson, following in (*pairwise(STEPS), *pairwise(BEYOND)):
            link(ROOT / "notebooks" / lesson.notebook, following)
    for path in map(Path, paths):
        try:
            refresh(path)
        except (OSError, CellExecutionError) as error:
            sys.exit(f"{path}: {error}")
        print(f"{path}: outputs stored")


if __name__ == "__main__":
    main(sys.argv[1:])
