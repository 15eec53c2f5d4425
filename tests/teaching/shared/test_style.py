import pytest

from medusa_lib.teaching.shared.style import visible


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
