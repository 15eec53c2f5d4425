import pytest
from panels import Reader, move, says

from medusa_lib.measure.systems import SETTINGS, SYSTEMS, WORDS
from medusa_lib.teaching.systems import (
    SystemsPanel,
    plot_settings,
    promises_table,
    setting_words,
    settings_table,
)


def test_tables_hold_every_name_and_escape_it() -> None:
    page = Reader(settings_table().data)
    for row in SETTINGS:
        assert row.setting in page.text
    for word in WORDS:
        assert word in page.text
    assert "lossless up to hardware numerics" in Reader(promises_table("same output").data).text


def test_a_square_for_each_system_and_word(ax) -> None:
    plot_settings(ax)
    assert len(ax.collections) == len(SYSTEMS) * len(WORDS)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(WORDS)


def test_the_panel_follows_its_controls_and_its_text_does_not() -> None:
    panel = SystemsPanel()
    before = panel.says
    assert "span in vLLM: num_speculative_tokens" in before
    move(panel, system="SGLang", word="self")
    assert says(panel).startswith("self in SGLang: no such setting; ")
    move(panel, word="tree")
    assert "--speculative-eagle-topk" in says(panel)
    assert panel.current().source in Reader(panel.view.value).text
    assert panel.says == before


def test_a_row_in_words_names_its_default_if_there_is_one() -> None:
    rows = {(row.system, row.word): setting_words(row) for row in SETTINGS}
    assert ", default 16; " in rows["llama.cpp", "span"]
    assert "default" not in rows["TensorRT-LLM", "heads"]


def test_the_panel_refuses_an_unknown_system() -> None:
    with pytest.raises(ValueError, match="system must be"):
        SystemsPanel("ollama")
