"""What stands on every lesson's page: the library's own source, where we are, plain tables."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from medusa_lib.base.course import BEYOND, BEYOND_WORDS, STEP_WORDS, STEPS, Lesson
from medusa_lib.teaching.shared.style import BLUE, axes_for

A_ROW, A_MAP_ROW = 7, 4  # boxes in a row of a lesson's own picture, and of the whole course's


def source_of(function: Callable) -> str:
    """A function's source as it stands in the library, its docstring cut to the first line."""
    source = textwrap.dedent(inspect.getsource(function))
    body = ast.parse(source).body[0].body[0]
    lines = source.rstrip("\n").split("\n")
    is_docstring = isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant)
    if is_docstring and body.end_lineno > body.lineno:
        indent = " " * body.col_offset
        first = body.value.value.strip().splitlines()[0]
        lines[body.lineno - 1 : body.end_lineno] = [f'{indent}"""{first}"""']
    return "\n".join(lines)


def show_source(*functions: Callable) -> Markdown:
    """The live source of functions of this library, ready to be a cell's last value."""
    parts = []
    for function in functions:
        file = function.__module__.partition(".")[2].replace(".", "/")
        where = f"`{function.__qualname__}` in `{file}.py`"
        parts.append(f"{where}\n```python\n{source_of(function)}\n```")
    return Markdown("\n\n".join(parts))


def where_we_are(step: int) -> None:
    """Draw the pipeline with this step marked, and say the same in words. step: 0 to 7."""
    plot_pipeline(step)
    plt.show()
    print(f"You are at STEP{step} of STEP0 to STEP7: {_code_of(STEPS[step])}")


def where_we_are_beyond(lesson: int) -> None:
    """Draw the lessons beyond the steps, this one marked, and say it in words. lesson: from 1."""
    plot_beyond(lesson)
    plt.show()
    print(f"You are at BEYOND{lesson}, after STEP0 to STEP7: {_code_of(BEYOND[lesson - 1])}")


def _code_of(lesson: Lesson) -> str:
    return f"{lesson.word} ({lesson.file})"


def lesson_box(ax: Axes, at: float, label: str, here: bool, up: float = 0) -> None:
    """A rounded box one unit wide at `at`, `up` above the bottom, filled if `here`."""
    box = FancyBboxPatch(
        (at + 0.06, up + 0.1),
        0.84,
        0.8,
        boxstyle="round,pad=0.02,rounding_size=0.1",
        facecolor=BLUE if here else "white",
        edgecolor=BLUE,
        linewidth=2 if here else 1,
    )
    ax.add_patch(box)
    style = {"color": "white", "weight": "bold"} if here else {"color": "black"}
    ax.text(at + 0.48, up + 0.5, label, ha="center", va="center", fontsize=8, **style)


def plot_pipeline(step: int, ax: Axes | None = None) -> Axes:
    """The eight steps as boxes in a row, the one at hand filled. step: 0 to 7."""
    ax = axes_for(ax, (9, 0.9))
    for i, word in enumerate(STEP_WORDS):
        lesson_box(ax, i, f"STEP{i}\n{word.replace('_', ' ')}", i == step)
    ax.set(xlim=(0, 8), ylim=(0, 1))
    ax.axis("off")
    return ax


def plot_beyond(lesson: int, ax: Axes | None = None) -> Axes:
    """A box for the eight steps, then the lessons beyond, the one at hand filled. From 1."""
    rows = len(BEYOND_WORDS) // A_ROW + 1
    ax = axes_for(ax, (9, 0.9 * rows))
    lesson_box(ax, 0, f"STEP0–{len(STEP_WORDS) - 1}", here=False, up=rows - 1)
    for i, word in enumerate(BEYOND_WORDS, start=1):
        row, at = divmod(i, A_ROW)
        up = rows - 1 - row
        lesson_box(ax, at, f"BEYOND{i}\n{word.replace('_', ' ')}", i == lesson, up)
        if at:
            ends = (at + 0.05, up + 0.5), (at - 0.09, up + 0.5)
            ax.annotate("", *ends, arrowprops={"arrowstyle": "->"})
    ax.set(xlim=(0, min(A_ROW, max(6, len(BEYOND_WORDS) + 1))), ylim=(0, rows))
    ax.axis("off")
    return ax


def plot_course(ax: Axes | None = None) -> Axes:
    """The map: a box for each lesson, with a phrase that needs none of the course's words."""
    parts = (("Build it, step by step", STEPS), ("Beyond: make it fast", BEYOND))
    heights = [0.6 - (-len(lessons) // A_MAP_ROW) for _, lessons in parts]
    ax = axes_for(ax, (10, 0.52 * sum(heights)))
    top = sum(heights)
    for (title, lessons), height in zip(parts, heights, strict=True):
        ax.text(0.05, top - 0.35, title, va="center", weight="bold", fontsize=10)
        map_rows(ax, lessons, top - 0.6)
        top -= height
    ax.set(xlim=(0, A_MAP_ROW), ylim=(0, sum(heights)))
    ax.axis("off")
    return ax


def map_rows(ax: Axes, lessons: Sequence[Lesson], top: float) -> None:
    """Rows of boxes from `top` down, each with a lesson's name and its phrase."""
    for i, lesson in enumerate(lessons):
        row, at = divmod(i, A_MAP_ROW)
        name = f"{lesson.name} {lesson.word.replace('_', ' ')}"
        here = lesson is STEPS[0]
        lesson_box(ax, at, f"{name}\n{lesson.phrase}", here, top - row - 1)
