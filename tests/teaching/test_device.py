"""STEP0's room: what a loop keeps, as a picture, and the race of one by one with guesses."""

import re

import pytest
from drawing import LOOPS, RUN, texts
from markup import harmless
from matplotlib.colors import to_hex
from panels import alert, move, says, settle

from medusa_lib import run_greedy, speculate
from medusa_lib.teaching.device import (
    GUESS_AND_CHECK,
    ONE_BY_ONE,
    RacePanel,
    plot_draft_and_verify,
    written_after,
)
from medusa_lib.teaching.shared.style import KIND_COLOURS

NEW = 8


@pytest.fixture(scope="module")
def panel(lm):
    return RacePanel(lm, "The king said", NEW)


def test_tokens_written_after_some_passes():
    assert [loop.verify_passes + loop.draft_passes for loop in LOOPS] == [6, 4, 6]
    counts = [written_after(RUN, passes) for passes in (0, 5, 6, 9, 10, 16, 99)]
    assert counts == [0, 0, 3, 3, 4, 7, 7]


def boxes(ax):
    """Each row of boxes from the top: (kind, colour) from left to right."""
    rows = {}
    for box in ax.patches:
        rows.setdefault(box.get_y(), []).append((box.get_gid(), to_hex(box.get_facecolor())))
    return [rows[up] for up in sorted(rows, reverse=True)]


@pytest.mark.parametrize(
    ("accepted", "last", "sign"), [(0, "corrected", "✗"), (1, "corrected", "✗"), (2, "bonus", "+")]
)
def test_the_picture_shows_guesses_verdicts_and_what_is_kept(ax, accepted, last, sign):
    plot_draft_and_verify([" a", "\n"], accepted, " own", ax)
    first, kept = boxes(ax)
    assert [kind for kind, _ in first] == ["accepted"] * accepted + ["unused"] * (2 - accepted)
    assert [kind for kind, _ in kept] == ["accepted"] * accepted + [last]
    assert all(colour == to_hex(KIND_COLOURS[kind]).lower() for kind, colour in first + kept)
    shown, held = texts(ax), ["a", "⏎"][:accepted]
    assert [text for text in shown if re.match("[✓✗+] ", text)] == [
        *(f"✓ {text}" for text in held),
        f"{sign} own",
    ]
    assert [text for text in shown if text in ("a", "⏎", "own")] == ["a", "⏎", *held, "own"]


@pytest.mark.parametrize("passes", [0, 1, 3, NEW])
def test_the_panel_shows_both_texts_so_far_and_runs_nothing(panel, lm, passes, count_passes):
    with count_passes(lm) as counted:
        move(panel, passes=passes)
    assert not counted, "a move must not run the model"
    runs = {
        ONE_BY_ONE: run_greedy(lm, "The king said", NEW),
        GUESS_AND_CHECK: speculate(lm, "The king said", "heads_chain", NEW),
    }
    written = {name: written_after(run, passes) for name, run in runs.items()}
    assert panel.written() == written
    assert says(panel) == (
        f"Tokens written after {passes} model passes: {ONE_BY_ONE} {written[ONE_BY_ONE]}, "
        f"{GUESS_AND_CHECK} {written[GUESS_AND_CHECK]}"
    )
    page = harmless(panel.view.value, "div h4 p b span sup br")
    sources = [mark["data-source"] for mark in page.all("class", "token")]
    assert sources == [
        *runs[ONE_BY_ONE].sources[:passes],
        *runs[GUESS_AND_CHECK].sources[: written[GUESS_AND_CHECK]],
        *("greedy", "accepted", "corrected", "bonus"),
    ]


def test_guess_and_check_ends_first_with_the_same_text(panel):
    one, other = panel.runs[ONE_BY_ONE], panel.runs[GUESS_AND_CHECK]
    assert one.new_ids == other.new_ids
    assert other.model_passes < one.model_passes == NEW


def test_a_new_prompt_runs_again_and_a_bad_one_is_told(panel):
    panel.prompt.value = "She opened the door"
    settle(panel)
    assert panel.runs[ONE_BY_ONE].text.startswith("She opened the door")
    before = panel.view.value
    panel.prompt.value = "word " * 600
    settle(panel)
    assert "at most" in alert(panel)
    assert panel.view.value == before
    panel.prompt.value = "The king said"
    settle(panel)
    assert not alert(panel)


def test_its_slider_and_play_go_as_far_as_one_by_one_needs(panel):
    assert panel.passes.max == panel.play.max == NEW
    assert panel.link.source == (panel.play, "value")
    assert panel.link.target == (panel.passes, "value")
    assert re.fullmatch(r"Panel: .*Tokens written after 4 model passes: .*", panel.says)
