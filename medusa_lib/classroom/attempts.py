"""What learners' notebooks say about the exercises: which are solved, and what is wrong."""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from medusa_lib import exercises as rooms
from medusa_lib.base.course import LESSONS
from medusa_lib.exercises.grading import read_reports
from medusa_lib.teaching.shared.style import escaped

STATES = ("correct", "not yet", "not attempted", "not run", "unreadable", "missing")  # best first
LARGEST = 100_000_000  # bytes of a notebook that is read
START = 300  # seconds that a kernel may take to start; a busy machine is slow
LATE = "TimeoutError"  # what a cell that ran too long has raised
QUIET = logging.getLogger(f"{__name__}.kernels")  # what kernels complain of stands in the outputs
QUIET.setLevel(logging.CRITICAL + 1)
ASKED = re.compile(r"\bcheck_(\w+)\(")


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course: its lesson's name ("STEP3"), its own ("softmax_by_hand"), and
    the beginning of its notebook's name. Its check is `check_` and its own name.
    """

    lesson: str
    name: str
    notebook: str


@dataclass(frozen=True)
class Attempt:
    """One learner's exercise. state: one of STATES. said: what is wrong, else empty. file: the
    notebook that it was found in, from the learner's folder on; empty if it was found in none.
    """

    learner: str
    exercise: Exercise
    state: str
    said: str = ""
    file: str = ""


@dataclass(frozen=True)
class Unread:
    """A file that says nothing, and why."""

    learner: str
    file: str
    why: str


@dataclass
class Progress:
    """Everybody's attempts, learner by learner in the course's order, and what was not read."""

    attempts: list[Attempt] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)


def printable(text: str) -> str:
    """A learner's text in one line without characters that steer a terminal or have no code."""
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def course_exercises() -> tuple[Exercise, ...]:
    """All exercises, in the order of the lessons, as `medusa_lib.exercises` has checks for them."""
    names, found = {room.name for room in pkgutil.iter_modules(rooms.__path__)}, []
    for lesson in LESSONS:
        if lesson.word in names:
            room = importlib.import_module(f"{rooms.__name__}.{lesson.word}")
            own = [name for name, f in vars(room).items() if is_check(name, f, room.__name__)]
            stem = Path(lesson.notebook).stem
            found += [Exercise(lesson.name, name.removeprefix("check_"), stem) for name in own]
    return tuple(found)


def is_check(name: str, thing: object, module: str) -> bool:
    """Whether it is a check that this module defines, not one that it imports."""
    return name.startswith("check_") and getattr(thing, "__module__", "") == module


def learner_folders(folders: Iterable[Path]) -> list[tuple[str, Path]]:
    """Each learner's name and folder, in the order given.

    A folder that holds notebooks, or a folder `notebooks` or `beyond`, is one learner's; of any
    other, each folder in it that is not hidden. Two of one name get their parent's name, too.
    """
    found = [each for folder in folders for each in _of_one(folder.resolve())]
    names = [_name(folder) for folder in found]
    return [
        (printable(name if names.count(name) == 1 else f"{folder.parent.name}/{name}"), folder)
        for name, folder in zip(names, found, strict=True)
    ]


def _of_one(folder: Path) -> list[Path]:
    whose = any((folder / name).is_dir() for name in ("notebooks", "beyond"))
    if whose or folder.name == "notebooks" or any(folder.glob("*.ipynb")):
        return [folder]
    return sorted(each for each in folder.iterdir() if each.is_dir() and each.name[0] != ".")


def _name(folder: Path) -> str:
    return folder.parent.name if folder.name == "notebooks" else folder.name


def notebook_files(
    folder: Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Its notebooks and those of the folders in it, sorted; no hidden ones, so no checkpoints.

    Links to other folders are not followed. on_error hears of each folder that cannot be read.
    """
    for at, below, files in os.walk(folder, onerror=on_error):
        below[:] = sorted(name for name in below if name[0] != "." and name != "__pycache__")
        names = sorted(name for name in files if name.lower().endswith(".ipynb"))
        yield from (Path(at, name) for name in names if name[0] != ".")


def read_cells(path: Path) -> list[dict]:
    """The code cells of a notebook as they are stored, whatever its version of format 4.

    Raises ValueError, with what is wrong in a few words.
    """
    try:
        if not path.is_file():  # a pipe would never end
            raise ValueError("is no file")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"is larger than {LARGEST // 1_000_000} MB")
        stored = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is not JSON, so no notebook") from error
    cells = stored.get("cells") if isinstance(stored, dict) else None
    if not isinstance(cells, list):
        raise ValueError("has no cells, so it is no notebook of format 4")
    return [c for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"]


def text_of(value: object) -> str:
    """A text as notebooks store it: a string, or a list of them; anything else is empty."""
    parts = value if isinstance(value, list) else [value]
    return "".join(part for part in parts if isinstance(part, str))


def grade_id(cell: dict) -> str:
    """The name under which nbgrader knows a cell; empty for most cells."""
    about = cell.get("metadata")
    mark = about.get("nbgrader") if isinstance(about, dict) else None
    return text_of(mark.get("grade_id")) if isinstance(mark, dict) else ""


def asked_in(cell: dict) -> list[str]:
    """The names of the checks that a cell calls; by nbgrader's mark if its text was changed."""
    called = list(dict.fromkeys(ASKED.findall(text_of(cell.get("source")))))
    return called or [grade_id(cell).removeprefix("check_")] * grade_id(cell).startswith("check_")


def reports_of(cell: dict) -> list[tuple[str, str]]:
    """What a cell's outputs report, in order: state and mistake; an error is a mistake, too."""
    outputs, found = cell.get("outputs"), []
    for output in outputs if isinstance(outputs, list) else []:
        kind = output.get("output_type") if isinstance(output, dict) else None
        if kind == "error":
            name, value = (text_of(output.get(key)) for key in ("ename", "evalue"))
            found += read_reports(value) or [("not yet", f"the cell raised {name}: {value}")]
        elif kind == "stream":
            found += read_reports(text_of(output.get("text")))
        elif kind == "execute_result" and isinstance(output.get("data"), dict):
            shown = text_of(output["data"].get("text/plain"))
            found += read_reports(shown.strip("'\""))
    return found


def reported(cells: Sequence[dict]) -> Iterator[tuple[str, str, str]]:
    """Of each check that is called: its exercise's name, state and mistake, as they are stored."""
    ran = {grade_id(cell): cell.get("execution_count") for cell in cells}
    for cell in cells:
        names, reports = asked_in(cell), reports_of(cell)
        for name, (state, said) in zip(names, reports[-len(names) :], strict=False):
            stub, check = ran.get(name), cell.get("execution_count")
            stale = isinstance(stub, int) and isinstance(check, int) and stub > check
            yield name, *(("not run", "its stub ran again after it") if stale else (state, said))
        for name in names[len(reports) :]:
            yield name, "not run", ""


def run_cells(cells: Sequence[dict], folder: Path, seconds: int) -> tuple[list[dict], str]:
    """Run a notebook's code up to its last check in a kernel → cells with new outputs, and why
    it stopped early, if it did. **This runs whatever the learner wrote.** The file stays as it is.

    folder: where it runs. seconds: for one cell; then it is interrupted, and the next one runs.
    """
    new = [new_code_cell(text_of(cell.get("source"))) for cell in cells]
    for cell, mark in zip(new, map(grade_id, cells), strict=True):
        cell.metadata = {"nbgrader": {"grade_id": mark}} if mark else {}
    last = max((i for i, cell in enumerate(new) if asked_in(cell)), default=-1)
    if last < 0:
        return new, ""
    late = {"ename": LATE, "evalue": f"no answer within {seconds} s", "traceback": []}
    client = NotebookClient(
        new_notebook(cells=new[: last + 1]),
        timeout=seconds,
        startup_timeout=max(START, seconds),
        kernel_name="python3",
        allow_errors=True,
        interrupt_on_timeout=True,
        error_on_timeout=late,
        on_cell_executed=_note_time_out,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
        log=QUIET,
    )
    try:
        client.execute()
    except Exception as error:  # such as a kernel that died
        return new, f"stopped: {type(error).__name__} ({str(error).partition(chr(10))[0]})"
    return new, ""


def _note_time_out(cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
    """Put a time-out among a cell's outputs in the place of what the interrupt has left there."""
    content = execute_reply["content"]
    if content.get("ename") == LATE:
        about = {key: content[key] for key in ("ename", "evalue", "traceback")}
        cell.outputs = [o for o in cell.outputs if o.output_type != "error"]
        cell.outputs.append(new_output("error", **about))


def read_learner(
    learner: str, folder: Path, exercises: Sequence[Exercise], seconds: int | None = None
) -> Progress:
    """One learner's attempts, the best one of each exercise, whichever notebook it stands in.

    seconds: None reads what is stored; a number runs each notebook anew, see `run_cells`.
    """
    found, result = {}, Progress()

    def note(path: Path, why: str | None) -> str:
        file = printable(str(path.relative_to(folder)))
        if why:
            result.unread.append(Unread(learner, file, why))
        return file

    files = notebook_files(folder, lambda error: note(Path(error.filename), error.strerror))
    for path in files:
        cells, stopped = _cells(path, seconds)
        file = note(path, stopped)
        for name, state, said in reported(cells):
            found.setdefault(name, []).append((STATES.index(state), printable(said), file))
    result.attempts = [_best(learner, each, found, result.unread) for each in exercises]
    return result


def _cells(path: Path, seconds: int | None) -> tuple[list[dict], str]:
    """A notebook's cells, run anew if seconds are given, and what went wrong with it as a whole."""
    try:
        cells = read_cells(path)
        return (cells, "") if seconds is None else run_cells(cells, path.parent, seconds)
    except ValueError as error:
        return [], str(error)


def _best(learner: str, exercise: Exercise, found: dict, unread: list[Unread]) -> Attempt:
    if exercise.name in found:
        state, said, file = min(found[exercise.name], key=lambda one: one[0])
        return Attempt(learner, exercise, STATES[state], said, file)
    for each in unread:
        if Path(each.file).name.startswith(exercise.notebook):
            return Attempt(learner, exercise, "unreadable", each.why, each.file)
    return Attempt(learner, exercise, "missing")
