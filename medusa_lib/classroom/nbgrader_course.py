"""A course folder for nbgrader: `python -m medusa_lib.classroom nbgrader COURSE`.

Makes one assignment of each lesson with exercises, and copies the settings, where there are none
yet. With --learners it also collects what learners have: their notebooks go to `submitted/`, from
where `nbgrader autograde LESSON` takes them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from medusa_lib.classroom.attempts import (
    asked_in,
    course_exercises,
    learner_folders,
    notebook_files,
    read_cells,
)

SETTINGS = Path(__file__).with_name("nbgrader_config.py")


def make_course(course: Path, lessons: Path) -> list[Path]:
    """Make an assignment of each lesson with exercises → the files that were written.

    course: may be there, and what is in it is never overwritten. lessons: the folder of the
    course's notebooks. Raises OSError for a lesson that is not in it.
    """
    stems = dict.fromkeys(each.notebook for each in course_exercises())
    lesson = {path.stem: path for path in notebook_files(lessons)}
    if missing := [stem for stem in stems if stem not in lesson]:
        raise FileNotFoundError(f"{lessons} must have all lessons, got none named {missing[0]}")
    wanted = {course / "source" / stem / f"{stem}.ipynb": lesson[stem] for stem in stems}
    wanted[course / SETTINGS.name] = SETTINGS
    new = [target for target in wanted if not target.exists()]
    for target in new:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(wanted[target], target)
    return new


def lesson_notebook(folder: Path, stem: str, names: set[str]) -> Path | None:
    """A learner's notebook of a lesson: the one of its name, else the newest that has its checks.

    names: of the lesson's exercises. None if there is none that can be read.
    """
    found = []
    for path in notebook_files(folder):
        try:
            asked = {name for cell in read_cells(path) for name in asked_in(cell)}
        except ValueError:
            continue
        if asked & names:
            found.append((path.stem == stem, path.stat().st_mtime, path))
    return max(found)[-1] if found else None


def collect(course: Path, folders: Iterable[Path]) -> list[Path]:
    """Copy learners' notebooks into `submitted/LEARNER/LESSON/`, the place of an earlier copy.

    folders: as `learner_folders` takes them. Beside each lies the time of its last change, from
    which nbgrader knows who is late. → the notebooks that were written.
    """
    lessons: dict[str, set[str]] = {}
    for each in course_exercises():
        lessons.setdefault(each.notebook, set()).add(each.name)
    written = []
    for learner, folder in learner_folders(folders):
        for stem, names in lessons.items():
            if path := lesson_notebook(folder, stem, names):
                target = course / "submitted" / learner / stem / f"{stem}.ipynb"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                time = changed.strftime("%Y-%m-%d %H:%M:%S.%f UTC\n")
                target.with_name("timestamp.txt").write_text(time, encoding="utf-8")
                written.append(target)
    return written


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line after `nbgrader`."""
    program = "python -m medusa_lib.classroom nbgrader"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("course", type=Path, metavar="COURSE", help="the folder to make")
    about = "the course's notebooks, `notebooks` if not given"
    parser.add_argument("--lessons", type=Path, default=Path("notebooks"), help=about)
    about = "a folder of learners' folders, or one learner's, to collect from"
    parser.add_argument("--learners", type=Path, nargs="+", default=[], help=about)
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Make the course and collect → exit status; an error takes a line."""
    args = parse(argv)
    try:
        made = make_course(args.course, args.lessons)
        collected = collect(args.course, args.learners)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(made)} files made in {args.course}, {len(collected)} notebooks collected")
    return 0
