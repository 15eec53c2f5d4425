import pytest
from drawing import GREEDY_STEP, LOOPS, draw
from loops_by_hand import timeless
from markup import harmless
from matplotlib.colors import to_rgba
from panels import EVIL, PROMPT, move, says

from medusa_lib import (
    LoopRecord,
    acceptance_rate,
    encode,
    make_generator,
    mean_accepted_length,
    medusa_loop_step,
    medusa_tiny,
    propose_branch,
)
from medusa_lib.teaching.prefix_accept import (
    AcceptPanel,
    plot_acceptance,
    settle_branch,
    verdicts,
    verdicts_html,
)
from medusa_lib.teaching.shared.html import token_texts
from medusa_lib.teaching.shared.style import KIND_COLOURS, KIND_HATCHES


@pytest.mark.parametrize(("span", "temperature", "top_p"), [(1, 0.0, 0.95), (6, 1.3, 0.8)])
def test_accept_panel_shows_the_verdicts(lm, span, temperature, top_p):
    panel = AcceptPanel(lm, PROMPT)
    move(panel, span=span, temperature=temperature, top_p=top_p)
    record = medusa_tiny(lm, PROMPT, span, span=span, temperature=temperature, top_p=top_p).loops[0]
    rows = verdicts(lm, record)
    assert panel.view.value.startswith(verdicts_html(rows))
    kinds = [kind for *_, kind in rows]
    assert says(panel).startswith(
        f"seed 7: {kinds.count('accepted')} accepted, {kinds.count('corrected')} corrected, "
        f"{kinds.count('unused')} unused; {len(record.emitted)} tokens emitted"
    )
    panel.again.click()
    assert says(panel).startswith("seed 8: ")


def test_verdicts_accept_correct_and_leave(lm):
    a, b, c, d = encode(lm, " the old man said")[0].tolist()[:4]
    record = LoopRecord(0, (a, b, c), 1, (a, d), correction=d)
    texts = dict(zip((a, b, c, d), token_texts(lm, [a, b, c, d]), strict=True))
    assert verdicts(lm, record) == [
        (texts[a], texts[a], "accepted"),
        (texts[b], texts[d], "corrected"),
        (texts[c], "", "unused"),
    ]
    whole = LoopRecord(0, (a, b), 2, (a, b))
    assert [kind for *_, kind in verdicts(lm, whole)] == ["accepted", "accepted"]
    assert verdicts(lm, LoopRecord(0, (), 0, (a,))) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_settling_a_branch_is_the_loop_after_its_draft(lm, seed):
    ids = encode(lm, PROMPT)
    branch = propose_branch(lm, ids, 3, 0.5, 0.95, generator=make_generator(seed))
    records = []
    given = {"generator": make_generator(seed), "records": records}
    medusa_loop_step(lm, ids, 3, 0.5, 0.95, loop_idx=4, **given)
    assert timeless([settle_branch(lm, ids, branch, 4)]) == timeless(records)


def test_settling_stops_behind_an_eos_and_refuses_what_is_no_branch(lm, scripted_lm, refuses):
    court = scripted_lm([1])
    end = court.eos_id
    record = settle_branch(court, encode(court, "a"), [1, end, 1])
    assert (record.accepted, record.emitted, record.unused) == (2, (1,), 1)
    for branch in ([], [-1]):
        with refuses("branch", lm=lm):
            settle_branch(lm, encode(lm, PROMPT), branch)


def test_verdicts_after_an_eos_are_not_reached(lm):
    a = encode(lm, " the")[0, 0].item()
    record = LoopRecord(0, (a, lm.eos_id, a), 2, (a,))
    assert [kind for *_, kind in verdicts(lm, record)] == ["accepted", "accepted", "unused"]


def test_html_in_a_draft_is_text_in_verdicts():
    page = harmless(verdicts_html([(EVIL, EVIL, "accepted"), ("a", EVIL, "corrected")]))
    assert page.text.count(EVIL.replace(" ", "·")) == 3


def test_verdicts_table_has_a_row_each():
    rows = [(" the", " the", "accepted"), ("a", "\n", "corrected"), ("b", "", "unused")]
    page = harmless(verdicts_html(rows))
    assert page.tags.count("tr") == 4
    assert [m["data-source"] for m in page.all("data-source")] == [kind for *_, kind in rows]
    assert "·the✓·theaccepted" in page.text
    assert "a✗⏎corrected" in page.text
    assert "b–unused" in page.text
    assert [th["scope"] for th in page.all("scope")] == ["col"] * 4


WITH_BONUS = LoopRecord(3, (2, 2), 2, (2, 2, 6), bonus=6, draft_passes=1, verify_passes=1)


def bars_of(ax, kind):
    return [bar for bar in ax.patches if (bar.get_gid() or "").startswith(f"{kind}-")]


def test_acceptance_bars_are_the_records(ax):
    plot_acceptance(LOOPS, ax)
    heights = {kind: [bar.get_height() for bar in bars_of(ax, kind)] for kind in KIND_COLOURS}
    assert heights == {
        "accepted": [2, 0, 3],
        "corrected": [1, 1, 0],
        "unused": [0, 2, 0],
        "bonus": [],
    }
    for kind in ("accepted", "corrected", "unused"):
        for place, bar in enumerate(bars_of(ax, kind)):
            assert bar.get_gid() == f"{kind}-{place}"
            assert bar.get_x() + bar.get_width() / 2 == pytest.approx(place)
            assert (bar.get_hatch() or "") == KIND_HATCHES[kind]
            assert bar.get_facecolor() == to_rgba(KIND_COLOURS[kind])
    # Stacked: each begins where the one below ends.
    assert [bar.get_y() for bar in bars_of(ax, "corrected")] == [2, 0, 3]
    assert [bar.get_y() for bar in bars_of(ax, "unused")] == [3, 1, 3]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["accepted", "corrected", "unused"]


def test_acceptance_title_has_both_figures_and_their_denominators(ax):
    plot_acceptance(LOOPS, ax)
    alpha, tau = acceptance_rate(LOOPS), mean_accepted_length(LOOPS)
    assert (alpha, tau) == (5 / 7, 7 / 3)
    assert ax.get_title() == ("α = 0.71 (accepted ÷ evaluated), τ = 2.33 (tokens emitted ÷ loops)")


def test_acceptance_shows_a_bonus_where_there_is_one(ax):
    plot_acceptance([*LOOPS, WITH_BONUS], ax)
    assert [bar.get_height() for bar in bars_of(ax, "bonus")] == [0, 0, 0, 1]
    assert bars_of(ax, "bonus")[-1].get_y() == 2
    assert bars_of(ax, "bonus")[0].get_hatch() == KIND_HATCHES["bonus"]


@pytest.mark.parametrize("loops", [[], [GREEDY_STEP]])
def test_acceptance_without_drafts_shows_a_dash_for_alpha(loops, ax):
    plot_acceptance(loops, ax)
    assert ax.get_title().startswith("α = – (accepted ÷ evaluated), τ = ")
    draw(ax)
