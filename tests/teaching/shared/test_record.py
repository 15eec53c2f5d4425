"""Records of panels: every combination of a grid, each picture as the panel draws it, once."""

import itertools
import json
import re
import shutil
import subprocess

import pytest
from panels import EVIL, Reader, move

from medusa_lib.teaching.drafter import BranchPanel
from medusa_lib.teaching.loops import LoopsPanel
from medusa_lib.teaching.one_pass import OnePassPanel
from medusa_lib.teaching.sampling import SamplingPanel
from medusa_lib.teaching.shared.record import ASSETS, NONE_THERE, recorded_html, script_json

GRID = {"temperature": (0.5, 1.5), "top_p": (0.5,), "standard": ...}


@pytest.fixture(scope="module")
def panel(tiny_gpt2):
    return SamplingPanel(tiny_gpt2, "abc")


@pytest.fixture(scope="module")
def record(panel):
    return panel.record(GRID, name="here")


def data_of(page):
    """What a page's script reads."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def test_the_table_covers_the_grid_and_the_starting_values_are_in_it(record):
    by_name = {control.name: control for control in record.controls}
    assert by_name["temperature"].values == (0.5, 0.9, 1.5)
    assert by_name["temperature"].texts == ("0.50", "0.90", "1.50")
    assert by_name["standard"].values == (False, True)
    starts = {name: control.values[control.start] for name, control in by_name.items()}
    assert starts == {"temperature": 0.9, "top_p": 0.95, "standard": False}
    assert len(record.table) == 3 * 2 * 2
    assert set(record.table) == set(range(len(record.frames)))


def test_each_frame_is_what_a_fresh_panel_draws_at_those_values(tiny_gpt2, record):
    fresh = SamplingPanel(tiny_gpt2, "abc")
    fresh.number = "here"
    for values in itertools.product(*(control.values for control in record.controls)):
        fresh.temperature.value, fresh.top_p.value, fresh.standard.value = values
        names = [control.name for control in record.controls]
        assert record.at(**dict(zip(names, values, strict=True))) == fresh.picture()


def test_no_frame_and_no_part_is_kept_twice(record):
    assert len(set(record.frames)) == len(record.frames)
    assert len(set(record.parts)) == len(record.parts)
    assert len({record.html(n) for n in range(len(record.frames))}) == len(record.frames)
    whole = sum(len(record.html(n)) for n in range(len(record.frames)))
    assert sum(map(len, record.parts)) < whole / 2


def test_what_looks_the_same_is_one_frame(panel):
    """Greedy keeps one token, whatever the nucleus."""
    record = panel.record({"temperature": (0.0,), "top_p": (0.5, 0.95)})
    (one,) = {record.at(temperature=0.0, top_p=p) for p in (0.5, 0.95)}
    assert "nucleus: 1 of" in one


def test_afterwards_the_panel_is_as_it_was(panel):
    before = panel.view.value, panel.number, panel.temperature.value, panel.says
    panel.record({"temperature": (0.5,)})
    assert (panel.view.value, panel.number, panel.temperature.value, panel.says) == before


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"heat": (1.0,)}, "temperature, top_p, standard, got 'heat'"),
        ({}, "at least one"),
        ({"temperature": ()}, r"grid\['temperature'\] must be a sequence of values, got \(\)"),
        ({"temperature": "0.5"}, "must be a sequence of values, got '0.5'"),
        ({"temperature": 0.5}, "must be a sequence of values, got 0.5"),
        (
            {"temperature": (0.5, 2.5)},
            r"must have values of that control, got 2.5",
        ),
        ({"temperature": (-0.5,)}, "got -0.5"),
        ({"temperature": (0.512,)}, "got 0.512"),
        ({"temperature": (True,)}, "got True"),
        ({"temperature": ("hot",)}, "got 'hot'"),
        ({"temperature": (float("nan"),)}, "got nan"),
        ({"temperature": ...}, r"grid\['temperature'\] must list its values, got \.\.\."),
        ({"standard": (2,)}, "got 2"),
    ],
)
def test_a_bad_grid_is_refused_by_name(panel, grid, said):
    before = panel.view.value
    with pytest.raises(ValueError, match=said):
        panel.record(grid)
    assert panel.view.value == before


def test_what_was_not_recorded_is_not_shown(record):
    with pytest.raises(ValueError, match=r"temperature must be among \(0.5, 0.9, 1.5\), got 0.7"):
        record.at(temperature=0.7)
    with pytest.raises(ValueError, match="must have names among temperature, top_p, standard"):
        record.at(heat=0.7)


def test_a_button_gives_the_next_seeds(tiny_gpt2):
    panel = BranchPanel(tiny_gpt2, "abc", seed=3, branches=2)
    record = panel.record({"span": (1, 3), "again": (3, 5)})
    (again,) = (control for control in record.controls if control.name == "again")
    assert (again.kind, again.values, again.texts) == ("button", (3, 5), ("seed 3", "seed 5"))
    panel.number = "recorded"
    panel.next_seed()
    assert record.at(again=5) == panel.view.value


def test_a_run_on_a_thread_is_waited_for(tiny_gpt2):
    panel = LoopsPanel(tiny_gpt2, "abc", max_new_tokens=6)
    record = panel.record({"span": (1, 3, 5)})
    panel.number = "recorded"
    for span in (5, 1, 3):
        move(panel, span=span)
        assert record.at(span=span) == panel.view.value


def test_a_step_slider_has_its_own_end_for_each_run(lm):
    panel = OnePassPanel(lm, max_new_tokens=10)
    record = panel.record({"loop": ..., "drafter": ("self",)})
    loop = record.controls[-1]
    assert loop.name == "loop"
    assert NONE_THERE in record.table
    for i, drafter in enumerate(("ngram", "self")):
        row = record.table[i * len(loop.values) : (i + 1) * len(loop.values)]
        count = len(row) - row.count(NONE_THERE)
        assert NONE_THERE not in row[:count]
        assert f"of {count} loops" in record.at(drafter=drafter, loop=0)
    with pytest.raises(ValueError, match="must have been recorded"):
        record.at(drafter="self", loop=loop.values[-1])


def test_the_page_has_a_named_native_control_for_each_and_the_first_picture(record, panel):
    page = re.sub("<script>.*?</script>", "", recorded_html(record), flags=re.S)
    assert record.at() in page
    for control in record.controls:
        assert f'<label for="here-{control.name}">{control.label}</label>' in page
    assert 'aria-valuetext="0.90"' in page
    assert page.count('<input type="range"') == 2
    assert page.count('<input type="checkbox"') == 1
    assert panel.says in Reader(page).text


def test_the_page_holds_the_whole_record_and_asks_for_nothing(record):
    page = recorded_html(record)
    data = data_of(page)
    assert data["table"] == list(record.table)
    frames = ["".join(data["parts"][part] for part in frame) for frame in data["frames"]]
    assert frames == [record.html(n) for n in range(len(frames))]
    asks = re.findall(r"(?:src|href)=[\"'](?!#)|url\((?!#)|fetch\(|import\(|@import", page)
    assert not asks


def test_html_in_a_prompt_never_becomes_an_element(lm):
    panel = SamplingPanel(lm, EVIL + "</script>")
    page = recorded_html(panel.record({"temperature": (0.5,)}))
    read = Reader(re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert not read.tags & {"img", "script"}
    assert page.count("<script") == page.count("</script>") == 2


def test_data_cannot_close_its_script():
    data = {"a": "</script><!--<script>\u2028"}
    text = script_json(data)
    assert not re.search("</|<!--|<script", text)
    assert json.loads(text) == data


def test_the_script_is_short_plain_and_of_this_century():
    script = (ASSETS / "recorded.js").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 60
    assert max(map(len, script.splitlines())) <= 100
    if node := shutil.which("node"):
        subprocess.run([node, "--check", "-"], input=script, text=True, check=True)
