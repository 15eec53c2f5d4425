import pytest
from matplotlib.figure import Figure

from medusa_lib.teaching.shared.style import name_lines, visible


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
