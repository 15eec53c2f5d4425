import inspect
import itertools

import pytest
from drawing import texts
from IPython.display import Markdown
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from medusa_lib import medusa_tiny, prefix_accept_once, run_greedy, softmax_temp, top_p_indices
from medusa_lib.base.course import BEYOND, BEYOND_WORDS, LESSONS, STEP_WORDS, STEPS, Lesson
from medusa_lib.exercises.grading import check
from medusa_lib.teaching.shared import page as lessons_module
from medusa_lib.teaching.shared import page as under_test
from medusa_lib.teaching.shared.page import (
    plot_beyond,
    plot_course,
    plot_pipeline,
    show_source,
    source_of,
    where_we_are,
    where_we_are_beyond,
)
from medusa_lib.teaching.shared.style import BLUE


@pytest.mark.parametrize("step", range(8))
def test_pipeline_marks_one_step(step, ax):
    plot_pipeline(step, ax)
    filled = [to_hex(box.get_facecolor()) == to_hex(BLUE) for box in ax.patches]
    assert filled == [i == step for i in range(8)]
    words = [word.replace("_", " ") for word in STEP_WORDS]
    assert texts(ax) == [f"STEP{i}\n{word}" for i, word in enumerate(words)]
    assert [text.get_weight() == "bold" for text in ax.texts] == filled


def boxes_of(ax):
    return [p for p in ax.patches if type(p).__name__ == "FancyBboxPatch"]


def overlaps(ax):
    """Pairs of boxes that overlap, and texts that are wider than their box."""
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    ax.figure.draw(renderer)
    boxes = [box.get_window_extent(renderer) for box in boxes_of(ax)]
    wide = [
        text.get_text()
        for text, box in zip((t for t in ax.texts if "\n" in t.get_text()), boxes, strict=True)
        if not (box.x0 < text.get_window_extent(renderer).x0 < box.x1)
        or text.get_window_extent(renderer).x1 > box.x1
    ]
    return wide + [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


def many(count):
    """So many lessons beyond the steps, with words as long as the longest of today."""
    longest = max(LESSONS, key=lambda lesson: len(lesson.phrase)).word
    return tuple(Lesson(f"BEYOND{i}", longest, "a", "b") for i in range(1, count + 1))


@pytest.mark.parametrize("count", [5, 6, 7, 13, 16])
def test_the_map_shows_every_lesson_with_its_phrase(monkeypatch, count):
    monkeypatch.setattr(under_test, "BEYOND", many(count))
    ax = plot_course()
    lessons = (*STEPS, *many(count))
    named = [text for text in texts(ax) if "\n" in text]
    assert named == [
        f"{each.name} {each.word.replace('_', ' ')}\n{each.phrase}" for each in lessons
    ]
    assert [to_hex(box.get_facecolor()) == to_hex(BLUE) for box in boxes_of(ax)] == [
        each is STEPS[0] for each in lessons
    ]
    assert not overlaps(ax)


@pytest.mark.parametrize("count", [5, 6, 7, 13])
def test_many_lessons_beyond_stand_in_rows(monkeypatch, count):
    words = ("sampling_exactly",) * count
    monkeypatch.setattr(under_test, "BEYOND_WORDS", words)
    ax = plot_beyond(count)
    (low, high), boxes = ax.get_ylim(), boxes_of(ax)
    assert len(boxes) == count + 1
    assert (high - low) == (1 if count < 7 else 2)
    ax.texts[0].set_text("STEP0\n7")
    assert not overlaps(ax)


def long_doc(x):
    """The first line stays.

    The rest goes.
    """
    return x  # and what follows


def one_line(x):
    """One line stays."""
    return x


def undocumented(x):
    return x


class Owner:
    def method(self):
        """First line.

        More.
        """
        return "method"


def test_source_keeps_the_first_line_of_a_docstring():
    assert source_of(long_doc) == (
        'def long_doc(x):\n    """The first line stays."""\n    return x  # and what follows'
    )
    assert source_of(one_line) == 'def one_line(x):\n    """One line stays."""\n    return x'
    assert source_of(undocumented) == "def undocumented(x):\n    return x"
    assert source_of(Owner.method) == (
        'def method(self):\n    """First line."""\n    return "method"'
    )


@pytest.mark.parametrize("function", [softmax_temp, top_p_indices, medusa_tiny, run_greedy, check])
def test_source_is_the_librarys_own(function):
    live = inspect.getsource(function)
    shown = source_of(function)
    head, _, body = live.partition('"""')[2].partition('"""')
    assert shown.startswith(live.partition('"""')[0])
    assert shown.endswith(body.rstrip("\n"))
    assert head.splitlines()[0] in shown
    assert shown.count('"""') == 2
    compile(shown, "<shown>", "exec")


def test_show_source_names_where_each_function_lives():
    shown = show_source(softmax_temp, prefix_accept_once)
    assert isinstance(shown, Markdown)
    assert shown.data == (
        f"`softmax_temp` in `steps/sampling.py`\n```python\n{source_of(softmax_temp)}\n```\n\n"
        "`prefix_accept_once` in `steps/prefix_accept.py`\n"
        f"```python\n{source_of(prefix_accept_once)}\n```"
    )


@pytest.mark.parametrize("step", range(8))
def test_where_we_are_draws_and_says_the_same(step, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(under_test, "plot_pipeline", drawn.append)
    monkeypatch.setattr(under_test.plt, "show", lambda: drawn.append("shown"))
    where_we_are(step)
    lesson = STEPS[step]
    assert drawn == [step, "shown"]
    assert capsys.readouterr().out == (
        f"You are at STEP{step} of STEP0 to STEP7: {lesson.word} ({lesson.file})\n"
    )


@pytest.mark.parametrize("lesson", range(1, len(BEYOND_WORDS) + 1))
def test_where_we_are_beyond_marks_one_lesson(lesson, ax, capsys, monkeypatch) -> None:
    plot_beyond(lesson, ax)
    boxes = [p for p in ax.patches if type(p).__name__ == "FancyBboxPatch"]
    filled = [to_hex(box.get_facecolor()) == to_hex(BLUE) for box in boxes]
    assert filled == [i == lesson for i in range(len(BEYOND_WORDS) + 1)]
    words = [f"BEYOND{i}\n{w.replace('_', ' ')}" for i, w in enumerate(BEYOND_WORDS, start=1)]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["STEP0–7", *words]
    drawn = []
    monkeypatch.setattr(lessons_module, "plot_beyond", drawn.append)
    monkeypatch.setattr(lessons_module.plt, "show", lambda: drawn.append("shown"))
    where_we_are_beyond(lesson)
    assert drawn == [lesson, "shown"]
    at = BEYOND[lesson - 1]
    said = f"You are at BEYOND{lesson}, after STEP0 to STEP7: {at.word} ({at.file})\n"
    assert capsys.readouterr().out == said
