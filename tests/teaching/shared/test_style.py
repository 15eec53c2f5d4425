from types import SimpleNamespace

import nbformat
import pytest
from matplotlib.figure import Figure
from nbconvert.preprocessors import ExecutePreprocessor
from tree import ROOT

from medusa_lib.teaching.shared import style
from medusa_lib.teaching.shared.style import draw_in_the_page, name_lines, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "·the"),
        ("a\n", "a⏎"),
        ("\t", "⇥"),
        ("", "∅"),
        ("\x00", r"\x00"),
        ("\u200b", r"\u200b"),
        ("\xa0", r"\xa0"),
        ("é“", "é“"),
    ],
)
def test_what_is_invisible_is_made_visible(text, shown):
    assert visible(text) == shown


def test_lines_are_named_at_their_ends_and_no_name_covers_another() -> None:
    ax = Figure().subplots()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.plot([0, 1], [0.2, 0.5], label="high"), ax.plot([0, 1], [0, 0.49], label="low")
    ax.plot([], [], label="empty"), ax.plot([0, 1], [1, 1])
    name_lines(ax)
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert list(heights) == ["low", "high"]
    assert heights["low"] == pytest.approx(0.49)
    assert heights["high"] == pytest.approx(0.56)


CELL = """from medusa_lib.teaching.shared.page import where_we_are
import matplotlib.pyplot as plt

where_we_are(3)
_ = plt.figure(figsize=(3, 2)).gca()
plt.show()"""


def shown_under(backend: str | None) -> list[dict]:
    """The outputs of that cell in a kernel whose environment names this backend."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)
        patch.setenv("PYTHONPATH", str(ROOT))
        if backend is not None:
            patch.setenv("MPLBACKEND", backend)
        ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(notebook, {})
    return notebook.cells[0].outputs


def test_lessons_show_their_figures_whatever_the_backend() -> None:
    wanted = shown_under(None)
    texts = [output.get("text") or output["data"]["text/plain"] for output in wanted]
    assert [output.output_type for output in wanted] == ["display_data", "stream", "display_data"]
    assert texts[2] == "<Figure size 300x200 with 1 Axes>"
    for backend in ("agg", "svg", "module://matplotlib_inline.backend_inline"):
        assert shown_under(backend) == wanted


@pytest.mark.parametrize(
    ("named", "drawn_by", "kernel", "wanted"),
    [
        ("agg", "agg", True, ["inline"]),
        ("TkAgg", "TkAgg", True, ["inline"]),
        ("agg", "QtAgg", True, []),  # chosen since, by %matplotlib
        ("module://a.b", "module://a.b", True, []),
        (None, "agg", True, []),
        ("agg", "agg", False, []),  # a terminal's IPython
    ],
)
def test_only_a_backend_of_the_environment_gives_way(
    monkeypatch, named, drawn_by, kernel, wanted
) -> None:
    asked = []
    shell = SimpleNamespace(enable_matplotlib=asked.append, **({"kernel": 1} if kernel else {}))
    monkeypatch.setattr(style, "get_ipython", lambda: shell)
    monkeypatch.setattr(style, "mpl", SimpleNamespace(rcParams={"backend": drawn_by}))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if named:
        monkeypatch.setenv("MPLBACKEND", named)
    draw_in_the_page()
    assert asked == wanted
