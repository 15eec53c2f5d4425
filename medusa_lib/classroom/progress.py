"""Who has solved which exercise: `python -m medusa_lib.classroom progress FOLDER…`.

A folder is one learner's notebooks, or holds a folder for each learner. What the checks have
printed is read from the notebooks as they were saved; nothing is run, unless --run asks for it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from medusa_lib.classroom.attempts import (
    Attempt,
    Exercise,
    Progress,
    course_exercises,
    learner_folders,
    read_learner,
)
from medusa_lib.teaching.shared.style import BLUE, GREEN, ORANGE, axes_for

WIDTH = 110  # letters; the tables need as many, also where the output goes to a file
SECONDS = 300  # for one cell of --run
COLUMNS = ("learner", "lesson", "exercise", "state", "what is wrong", "file")
MARKS = {  # sign and style in a table
    "correct": ("✓", "green"),
    "not yet": ("✗", "bold yellow"),
    "not attempted": ("·", ""),
    "not run": ("?", ""),
    "unreadable": ("!", "bold red"),
    "missing": ("–", "dim"),
}
LOOKS = {  # in a picture: never by colour alone; what is missing stays empty
    "correct": {"color": GREEN, "marker": "o", "s": 90},
    "not yet": {"color": ORANGE, "marker": "X", "s": 90},
    "not attempted": {"facecolor": "none", "edgecolor": "grey", "marker": "o", "s": 25},
    "not run": {"color": BLUE, "marker": "$?$", "s": 60},
    "unreadable": {"color": "black", "marker": "$!$", "s": 60},
}


def signs(attempts: Sequence[Attempt]) -> Text:
    """A sign for each attempt, side by side."""
    return Text.assemble(*(MARKS[each.state] for each in attempts))


def solved(attempts: Sequence[Attempt]) -> str:
    """How many are correct, of how many: "3/29"."""
    return f"{sum(each.state == 'correct' for each in attempts)}/{len(attempts)}"


def class_table(attempts: Sequence[Attempt]) -> Table:
    """A line for each learner, a column for each lesson, a sign for each of its exercises."""
    table = Table("learner", box=None, padding=(0, 1, 0, 0))
    for learner, own in groupby(attempts, lambda each: each.learner):
        lessons = [list(one) for _, one in groupby(own, lambda each: each.exercise.lesson)]
        if len(table.columns) == 1:
            for lesson in lessons:  # "STEP3" takes as few letters as its two signs
                name = lesson[0].exercise.lesson
                table.add_column(f"{name[0]}\n{name.strip('STEPBYOND')}", justify="center")
            table.add_column("solved", justify="right")
        flat = [each for lesson in lessons for each in lesson]
        table.add_row(Text(learner), *map(signs, lessons), solved(flat))
    return table


def learner_table(attempts: Sequence[Attempt]) -> Table:
    """A line for each exercise of one learner, with what is wrong."""
    table = Table("lesson", "exercise", "", "state", box=None, padding=(0, 1, 0, 0))
    for each in attempts:
        said = f"{each.state}: {each.said}" if each.said else each.state
        table.add_row(each.exercise.lesson, each.exercise.name, signs([each]), Text(said))
    return table


def mistakes(attempts: Sequence[Attempt]) -> list[tuple[Exercise, str, list[str]]]:
    """What is wrong and with whom: exercise by exercise, what most learners have first."""
    found: dict[tuple[Exercise, str], list[str]] = {}
    for each in attempts:
        if each.state == "not yet":
            found.setdefault((each.exercise, each.said), []).append(each.learner)
    order = list(dict.fromkeys(each.exercise for each in attempts))
    rows = [(exercise, said, whose) for (exercise, said), whose in found.items()]
    return sorted(rows, key=lambda row: (order.index(row[0]), -len(row[2])))


def mistakes_table(attempts: Sequence[Attempt]) -> Table:
    """The mistakes of a class, so that a teacher sees what to talk about."""
    table = Table("lesson", "exercise", "learners", "not yet", box=None, padding=(0, 1, 0, 0))
    for exercise, said, whose in mistakes(attempts):
        table.add_row(exercise.lesson, exercise.name, Text(", ".join(whose)), Text(said))
    return table


def print_progress(progress: Progress, console: Console) -> None:
    """The tables, then each file that could not be read."""
    learners = {each.learner for each in progress.attempts}
    console.print((class_table if len(learners) > 1 else learner_table)(progress.attempts))
    console.print("  ".join(f"{mark} {state}" for state, (mark, _) in MARKS.items()))
    if len(learners) > 1 and mistakes(progress.attempts):
        console.print()
        console.print(mistakes_table(progress.attempts))
    elif len(learners) == 1:
        console.print(f"solved: {solved(progress.attempts)}")
    for each in progress.unread:
        console.print(Text(f"! {each.learner}: {each.file} {each.why}"))


def write_csv(attempts: Sequence[Attempt], path: Path) -> None:
    """One row for each learner and exercise."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for each in attempts:
            what = (each.exercise.lesson, each.exercise.name)
            writer.writerow((each.learner, *what, each.state, each.said, each.file))


def plot_progress(attempts: Sequence[Attempt], ax: Axes | None = None) -> Axes:
    """Learners down, exercises across; colour and marker say how far each is."""
    people = list(dict.fromkeys(each.learner for each in attempts))
    what = list(dict.fromkeys(each.exercise for each in attempts))
    ax = axes_for(ax, (max(8, 3 + 0.25 * len(what)), 3.2 + 0.25 * len(people)))
    for state, look in LOOKS.items():
        at = [
            (what.index(e.exercise), people.index(e.learner)) for e in attempts if e.state == state
        ]
        x, y = zip(*at, strict=True) if at else ((), ())
        ax.scatter(x, y, label=state, **look)
    names = [f"{each.lesson} {each.name}" for each in what]
    plain = {"parse_math": False, "fontsize": 8}  # a pair of $ in a name is no formula
    ax.set_xticks(range(len(what)), names, rotation=90, **plain)
    ax.set_yticks(range(len(people)), people, **plain)
    ax.set(xlim=(-0.6, len(what) - 0.4), ylim=(len(people) - 0.4, -0.6), ylabel="learner")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(LOOKS), frameon=False, fontsize=8)
    ax.grid(alpha=0.3)
    return ax


def picture_file(name: str) -> Path:
    """A path whose ending names a kind of picture, or an error that lists the kinds."""
    kinds = FigureCanvasBase.filetypes
    if Path(name).suffix.removeprefix(".").lower() not in kinds:
        raise argparse.ArgumentTypeError(f"{name!r} must end in one of {', '.join(kinds)}")
    return Path(name)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line after `progress`."""
    program = "python -m medusa_lib.classroom progress"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--csv", type=Path, help="write a row for each learner and exercise here")
    parser.add_argument("--picture", type=picture_file, help="write a picture here (png, svg, pdf)")
    about = "run each notebook anew: this runs whatever learners wrote, with your rights"
    parser.add_argument("--run", action="store_true", help=about)
    about = f"for one cell of --run, {SECONDS} if not given"
    parser.add_argument("--seconds", type=int, default=SECONDS, help=about)
    args = parser.parse_args(argv)
    if args.seconds < 1:
        parser.error(f"--seconds must be an int >= 1, got {args.seconds}")
    return args


def read_progress(folders: Sequence[Path], seconds: int | None = None) -> Progress:
    """Everybody's attempts, learner by learner. seconds: see `read_learner`.

    Raises OSError for a folder that is none, ValueError if nobody's folder is among them.
    """
    learners, exercises, result = learner_folders(folders), course_exercises(), Progress()
    if not learners:
        raise ValueError("there must be a folder of notebooks or of learners, got an empty one")
    bar = Console(stderr=True)
    hidden = seconds is None or not bar.is_terminal
    for name, folder in track(learners, "learners", console=bar, transient=True, disable=hidden):
        own = read_learner(name, folder, exercises, seconds)
        result.attempts += own.attempts
        result.unread += own.unread
    return result


def main(argv: list[str]) -> int:
    """Print how far everybody is, write what was asked for → exit status; errors take a line."""
    args = parse(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal may know fewer letters than names do
    try:
        progress = read_progress(args.folders, args.seconds if args.run else None)
        print_progress(progress, Console(width=max(WIDTH, Console().width)))
        if args.csv:
            write_csv(progress.attempts, args.csv)
        if args.picture:
            ax = plot_progress(progress.attempts)
            ax.figure.savefig(args.picture)
            plt.close(ax.figure)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
