import pytest
from matplotlib.figure import Figure

from medusa_lib.teaching.shared.style import label_line_ends, visible


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


def test_labels_stand_at_the_ends_of_their_lines_and_do_not_touch():
    ax = Figure().subplots()
    for end, name in ((0.5, "b"), (0.49, "a"), (0.9, "c"), (0.1, "_not this one")):
        ax.plot([0, 1], [0, end], label=name)
    ax.set_ylim(0, 1)
    label_line_ends(ax, gap=0.1)
    at = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert at == pytest.approx({"a": 0.49, "b": 0.59, "c": 0.9})
