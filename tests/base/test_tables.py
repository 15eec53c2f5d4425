"""Tables as text."""

import pytest

from medusa_lib.base.tables import md_table, table


def test_table_aligns_its_columns():
    assert table(["name", "n"], [["a", 1], ["long one", 1234]]) == (
        "name         n\na            1\nlong one  1234"
    )
    assert table(["only"], [["a"], ["bc"]]) == "only\na\nbc"
    assert table(["x", "y"], []) == "x  y"


def test_table_refuses_a_row_of_another_length():
    with pytest.raises((ValueError, IndexError)):
        table(["x", "y"], [["a"]])


def test_a_markdown_table_has_a_line_each_and_escapes_bars():
    assert md_table(["name", "n"], [["a|b", 1]], left=1) == (
        "| name | n |\n| --- | ---: |\n| a\\|b | 1 |"
    )
    assert md_table(["x", "y"], []) == "| x | y |\n| --- | --- |"
