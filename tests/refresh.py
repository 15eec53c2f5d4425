"""Run notebooks and store their outputs as the tests want them: `python tests/refresh.py FILE …`.

One clean run from top to bottom, without widget states, times or anything of this machine. An
exercise's stub and its check, the cell below, get the metadata by which nbgrader knows them.
Without a file: README's table of lessons and its links to Binder and Colab, and in each lesson the
links to its neighbours, the minutes it takes and the cell that sets up Colab, are brought in step
with `medusa_lib/base/course.py`, `tests/minutes.py` and `tests/colab_cell.py`.
"""

import itertools
import os
import re
import sys
from pathlib import Path

import nbformat
from minutes import minutes
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor

from medusa_lib.base.course import LESSONS, REPOSITORY, Lesson, launch_links

ROOT = Path(__file__).parents[1]
COLAB_CELL = ROOT / "tests" / "colab_cell.py"
UNSEEN = {  # by whom: the site; JupyterLab and Notebook; nbconvert. In Colab it is a form.
    "tags": ["remove-cell"],
    "jupyter": {"source_hidden": True},
    "transient": {"remove_source": True},
    "cellView": "form",
}
SECONDS = 600  # for one cell
POINTS = 1  # of each exercise
CHECK = re.compile(r"^print\(check_(\w+)\(.*\)\)$", re.M)  # the last line of an exercise
STUB = re.compile(r"^    return \.\.\.$", re.M)
OPTIONS = {"store_widget_state": False, "record_timing": False, "coalesce_streams": True}


def refresh(path: Path) -> None:
    """Run a notebook in its folder and write its outputs into it; a failing one stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    runner = ExecutePreprocessor(timeout=SECONDS, **OPTIONS)
    runner.preprocess(notebook, {"metadata": {"path": str(path.parent)}})
    mark_exercises(notebook)
    notebook.metadata["language_info"] = {"name": "python"}
    for part in (notebook, *notebook.cells):
        for key in ("widgets", "execution"):
            part.metadata.pop(key, None)
    nbformat.write(notebook, path)


def nbgrader_cell(name: str, *, check: bool) -> dict[str, object]:
    """nbgrader's metadata of an exercise's stub, or of the check below it, which has the point."""
    about = {"schema_version": 3, "grade": check, "solution": not check, "locked": check}
    more = {"points": POINTS} if check else {}
    return {**about, **more, "task": False, "grade_id": f"check_{name}" if check else name}


def mark_exercises(notebook: nbformat.NotebookNode) -> None:
    """Give each exercise's stub, and its check in the next code cell, nbgrader's metadata.

    Other cells lose it, such as a copy of an exercise's cell that became something else.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.metadata.pop("nbgrader", None)
    for stub, below in itertools.pairwise(cells):
        call = CHECK.search(below.source)
        if call and STUB.search(stub.source):
            stub.metadata["nbgrader"] = nbgrader_cell(call[1], check=False)
            below.metadata["nbgrader"] = nbgrader_cell(call[1], check=True)


def title(lesson: Lesson) -> str:
    """Such as "STEP5 prefix accept"."""
    return f"{lesson.name} {lesson.word.replace('_', ' ').replace('medusa', 'Medusa')}"


def browser_links(repository: str) -> str:
    """README's paragraph on running a lesson in the browser; links only where there is a place."""
    start = "**In the browser**, with nothing to install:"
    if not repository:
        links = launch_links(LESSONS[0], "OWNER/NAME")
        shown = " and ".join(f"{name} at `{address}`" for name, address in links.items())
        return (
            f"{start} a copy of this repository on GitHub, say OWNER/NAME, runs on {shown} (and so "
            "each lesson). Its owner writes OWNER/NAME into `REPOSITORY` of "
            "`medusa_lib/base/course.py` and runs `python tests/refresh.py`: then links stand here."
        )
    links = {lesson: launch_links(lesson, repository) for lesson in LESSONS}
    colab = " · ".join(f"[{lesson.name}]({each['Colab']})" for lesson, each in links.items())
    return f"{start} all lessons on [Binder]({links[LESSONS[0]]['Binder']}), or on Colab {colab}."


def update_readme(path: Path, repository: str = REPOSITORY) -> None:
    """Write README's table of lessons and its links to Binder and Colab anew."""
    rows = (
        f"| [{title(lesson)}](notebooks/{lesson.notebook}) | {lesson.learn} | `{lesson.file}` |"
        for lesson in LESSONS
    )
    table = "\n".join(["| lesson | you learn | backed by |", "| --- | --- | --- |", *rows])
    old = re.compile(r"\| lesson \| you learn .*?(?=\n\n)", re.S)
    text = old.sub(lambda _: table, path.read_text(encoding="utf-8"))
    links = re.compile(r"^\*\*In the browser\*\*.*$", re.M)
    path.write_text(links.sub(lambda _: browser_links(repository), text), encoding="utf-8")


def neighbours(lesson: Lesson) -> str:
    """The lessons before and after, as links from this one's notebook."""
    at, here = LESSONS.index(lesson), Path(lesson.notebook).parent
    links = [
        f"[{title(other)}]({os.path.relpath(other.notebook, here)})"
        for other in LESSONS[max(0, at - 1) : at] + LESSONS[at + 1 : at + 2]
    ]
    before = f"← {links[0]}" if at else "← this is the first lesson"
    after = f"{links[-1]} →" if at + 1 < len(LESSONS) else "this is the last lesson"
    return f"{before} · {after}"


def colab_source(repository: str) -> str:
    """The source of the cell that sets up Colab, which installs from this repository."""
    source = COLAB_CELL.read_text(encoding="utf-8").rstrip()
    return source.replace('repository = ""', f'repository = "{repository}"')


def set_up_colab(path: Path, repository: str = REPOSITORY) -> None:
    """Put the cell that sets up Colab first among a notebook's code cells, as if it had run."""
    notebook = nbformat.read(path, as_version=4)
    old = [cell for cell in notebook.cells if cell.metadata.get("cellView") == "form"]
    new = nbformat.v4.new_code_cell(colab_source(repository), metadata=UNSEEN, id="colab")
    others = [cell for cell in notebook.cells if cell not in old]
    notebook.cells = [others[0], new, *others[1:]]
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for i, cell in enumerate(codes if codes[1:] and codes[1].execution_count else (), start=1):
        cell.execution_count = i
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = i
    nbformat.write(notebook, path)


def announce(path: Path, lesson: Lesson) -> None:
    """Write a lesson's line of neighbours and minutes anew; what it says of its code is kept."""
    notebook = nbformat.read(path, as_version=4)
    line = re.compile(r"^.* · about .* · (code: [^·\n]*`).*$", re.M)
    time = f"about {minutes(notebook)} minutes"
    new = rf"{neighbours(lesson)} · {time} · \1"
    notebook.cells[0].source = line.sub(new, notebook.cells[0].source)
    nbformat.write(notebook, path)


def main(paths: list[str]) -> None:
    """Refresh each notebook, the first that fails ends it with its error; none: see above."""
    if not paths:
        update_readme(ROOT / "README.md")
        for lesson in LESSONS:
            set_up_colab(ROOT / "notebooks" / lesson.notebook)
            announce(ROOT / "notebooks" / lesson.notebook, lesson)
    for path in map(Path, paths):
        try:
            refresh(path)
        except (OSError, CellExecutionError) as error:
            sys.exit(f"{path}: {error}")
        print(f"{path}: outputs stored")


if __name__ == "__main__":
    main(sys.argv[1:])
