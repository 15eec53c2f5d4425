import html
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medusa_lib import acceptance_rate, encode, last_logits, make_generator, softmax_temp
from medusa_lib.beyond.drafters import ModelDrafter
from medusa_lib.beyond.one_pass import State
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.sampling import nucleus_probs
from medusa_lib.teaching.sampling_exactly import (
    MEASURED_HEAD,
    OVERLAP_HEAD,
    Measured,
    Overlap,
    SamplingExactlyPanel,
    WatchedDrafter,
    measure_overlaps,
    measured_row,
    overlap,
    overlap_rows,
    overlap_words,
    plot_alpha_and_overlap,
    plot_misfits,
    plot_overlap,
    plot_shares,
)
from medusa_lib.teaching.shared.controls import NAME_SLIDERS
from medusa_lib.teaching.shared.html import table_html
from medusa_lib.teaching.toys.four_words import DRAFT, START, TARGET, WORDS, draft_logits


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("difference", [0.0, 0.5, 2.0])
def test_overlap_adds_up_to_the_target(temperature, top_p, difference) -> None:
    draft = draft_logits(difference)
    parts = overlap(TARGET[START], draft, temperature, top_p)
    assert parts.p == nucleus_probs(TARGET[START], temperature, top_p).tolist()
    assert parts.q == nucleus_probs(draft, temperature, top_p).tolist()
    rejected = 1 - parts.acceptance
    total = [a + rejected * r for a, r in zip(parts.accepted, parts.residual, strict=True)]
    assert total == pytest.approx(parts.p, abs=1e-9)
    distance = sum(abs(a - b) for a, b in zip(parts.p, parts.q, strict=True)) / 2
    assert parts.acceptance == pytest.approx(1 - distance)
    assert sum(parts.residual) == pytest.approx(1 if distance > 1e-9 else 0)


def test_overlap_rows_are_the_lessons_table() -> None:
    rows = overlap_rows(WORDS, overlap(TARGET[START], DRAFT[START], 1.0, 1.0))
    assert rows == [
        ["sun", "0.40", "0.30", "0.30", "0.33", "0.10", "0.40"],
        ["moon", "0.10", "0.20", "0.10", "0.00", "0.00", "0.10"],
        ["star", "0.20", "0.40", "0.20", "0.00", "0.00", "0.20"],
        ["rain", "0.30", "0.10", "0.10", "0.67", "0.20", "0.30"],
    ]
    assert all(len(row) == len(OVERLAP_HEAD) for row in rows)


def test_overlap_in_words() -> None:
    parts = Overlap([0.5, 0.5], [1.0, 0.0], [0.5, 0.0], [0.0, 1.0])
    assert overlap_words(parts) == (
        "a draft is accepted with probability 0.50; "
        "with probability 0.50 the residual takes its place"
    )


def test_shares_are_bars_side_by_side(ax) -> None:
    shares = {"draft": [0.3, 0.7], "target": [0.6, 0.4]}
    plot_shares(["sun", " moon"], shares, ax)
    assert [bar.get_height() for bar in ax.patches] == [0.3, 0.7, 0.6, 0.4]
    assert texts(ax) == ["0.30", "0.70", "0.60", "0.40"]
    assert ticks(ax.xaxis) == ["sun", "·moon"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(shares)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("word", "share of the draws")
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert edges[0][1] == pytest.approx(edges[2][0])
    assert edges[2][1] < edges[1][0]


def test_overlap_bars_stack_up_to_q_and_p(ax) -> None:
    p, q = [0.75, 0.25], [0.5, 0.5]
    plot_overlap(WORDS[:2], p, q, ax)
    tops: dict[float, float] = {}
    for bar in ax.patches:
        at = round(bar.get_x() + bar.get_width() / 2, 6)
        assert bar.get_y() == pytest.approx(tops.get(at, 0))
        tops[at] = bar.get_y() + bar.get_height()
    assert tops == pytest.approx({-0.2: 0.5, 0.2: 0.75, 0.8: 0.5, 1.2: 0.25})
    assert texts(ax) == ["0.50", "0.50", "0.75", "0.25"]
    assert ticks(ax.xaxis) == ["q", "\nsun", "p", "q", "\nmoon", "p"]
    assert len(ax.get_legend().get_texts()) == 3
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("word: draft q beside target p", "probability")


def test_misfits_are_cells_with_their_signs(ax) -> None:
    plot_misfits({"right": [0.04, -0.04], "wrong": [7.0, -5.0]}, ["a b", "c"], [0.5, 1e-9], ax)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), [[0.04, -0.04], [7.0, -5.0]])
    assert texts(ax) == ["+0.0", "+0.0", "+7.0", "-5.0"]
    assert [text.get_color() for text in ax.texts] == ["black", "black", "white", "white"]
    assert ticks(ax.yaxis) == ["right\np value 0.50", "wrong\np value < 0.001"]
    assert ticks(ax.xaxis) == ["a·b", "c"]
    assert ax.get_xlabel() == "text"
    FigureCanvasAgg(ax.figure).draw()


@pytest.fixture
def panel():
    return SamplingExactlyPanel()


@pytest.mark.parametrize(
    ("temperature", "top_p", "difference"),
    [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (2.0, 0.0, 2.0), (0.5, 0.95, 0.0)],
)
def test_panel_shows_the_sliders_values(panel, temperature, top_p, difference, capsys) -> None:
    panel.temperature.value, panel.top_p.value = temperature, top_p
    panel.difference.value = difference
    parts = overlap(TARGET[START], draft_logits(difference), temperature, top_p)
    assert panel.current() == parts
    says = re.search(r'<p class="says">(.*?)</p>', panel.view.value)[1]
    assert html.unescape(says) == overlap_words(parts)
    assert table_html(OVERLAP_HEAD, overlap_rows(WORDS, parts)) in panel.view.value
    for value in (*parts.p, *parts.q):
        assert f">{value:.2f}</text>" in panel.view.value
    assert not panel.message.value
    assert tuple(capsys.readouterr()) == ("", "")


def test_panel_begins_at_the_worked_example(panel) -> None:
    text = panel._repr_mimebundle_()["text/plain"]
    assert re.fullmatch(r"Panel: .{20,}", text)
    assert "accepted with probability 0.70" in text
    panel.temperature.value = 0.2
    assert panel._repr_mimebundle_()["text/plain"] == text == SamplingExactlyPanel().says


def test_panel_can_be_found_and_its_controls_have_names(panel) -> None:
    assert {"medusa-panel", "SamplingExactlyPanel"} <= set(panel._dom_classes)
    sliders = (panel.temperature, panel.top_p, panel.difference)
    assert [slider.description for slider in sliders] == ["temperature", "top-p", "difference"]
    assert [(slider.min, slider.max) for slider in sliders] == [(0, 2), (0, 1), (0, 2)]
    assert NAME_SLIDERS in [getattr(child, "value", "") for child in panel.children]


def test_panels_picture_has_a_text_alternative_and_ids_of_its_own(panel) -> None:
    (svg,) = re.findall("<svg [^>]*>", panel.view.value)
    assert 'role="img"' in svg
    assert "accepted with probability 0.70" in svg
    one, two = (
        set(re.findall(r'\sid="([^"]+)"', p.view.value)) for p in (panel, SamplingExactlyPanel())
    )
    assert one
    assert not one & two


def test_an_error_in_the_panel_is_shown(panel, monkeypatch) -> None:
    def broken(*_args):
        raise RuntimeError("no <b>luck</b>")

    monkeypatch.setattr("medusa_lib.teaching.sampling_exactly.overlap", broken)
    panel.temperature.value = 0.4
    assert "no &lt;b&gt;luck&lt;/b&gt;" in panel.message.value


def test_the_panels_distributions_are_plain_softmax_without_a_nucleus() -> None:
    parts = overlap(TARGET[START], draft_logits(1.0), 0.7, 1.0)
    assert parts.p == pytest.approx(softmax_temp(TARGET[START], 0.7).tolist())


CATS = "The cat and the dog and the cat and the dog and the"


def test_a_watched_drafter_writes_the_same_text(lm) -> None:
    """And notes an overlap for each token that verification reached."""
    measured = measure_overlaps(lm, CATS, "draft_model", 0.8, (7, 8), 24)
    plain = [speculate(lm, CATS, "draft_model", 24, 4, 0.8, seed=seed) for seed in (7, 8)]
    assert measured.rates == [acceptance_rate(run.loops) for run in plain]
    assert [loop.emitted for loop in measured.loops] == [
        loop.emitted for run in plain for loop in run.loops
    ]
    assert len(measured.overlaps) == sum(loop.evaluated for loop in measured.loops)
    assert all(0 <= x <= 1 + 1e-9 for x in measured.overlaps)
    row = dict(zip(MEASURED_HEAD, measured_row(measured), strict=True))
    written = sum(len(run.new_ids) for run in plain)
    verified, drafted = (
        sum(getattr(run, name) for run in plain) for name in ("verify_passes", "draft_passes")
    )
    assert row["tokens ÷ verify passes"] == f"{written / verified:.2f}"
    assert row["draft passes"] == f"{drafted / written:.2f}"
    assert row["each run"] == f"{min(measured.rates):.2f} to {max(measured.rates):.2f}"


def test_a_certain_drafter_shares_the_probability_of_its_token(lm) -> None:
    """The model itself shares all; greedy's own token, its probability."""
    state = State.start(lm, encode(lm, CATS)[0].tolist())
    logits = last_logits(lm, encode(lm, CATS))
    for temperature, wanted in ((0.0, float(nucleus_probs(logits, 0.8, 1.0).max())), (0.8, 1.0)):
        drafter = ModelDrafter(lm, temperature, 1.0, make_generator(7))
        watched = WatchedDrafter(drafter, 0.8)
        watched.propose(state, 1)
        watched.observe(state, logits[None], 0)
        assert watched.shared == pytest.approx([wanted])


def test_alpha_is_the_overlap_up_to_chance(lm) -> None:
    for name in ("ngram", "draft_model"):
        measured = measure_overlaps(lm, CATS, name, 0.7, range(1, 7))
        assert 0 < measured.by_chance < 0.06
        assert abs(measured.alpha - measured.overlap) < 3 * measured.by_chance
    assert Measured(overlaps=[0.5] * 4).by_chance == 0.25


def test_measuring_refuses_a_bad_temperature(lm, refuses) -> None:
    with refuses("temperature", -1.0, lm):
        measure_overlaps(lm, CATS, "ngram", -1.0, (7,))


def test_alpha_and_overlap_are_drawn_with_their_spread(ax, lm) -> None:
    cold, hot = (measure_overlaps(lm, CATS, "ngram", t, (7, 8), 16) for t in (0.3, 0.9))
    plot_alpha_and_overlap([0.3, 0.9], {"a drafter": [cold, hot]}, ax)
    computed = next(line for line in ax.lines if line.get_label() == "a drafter")
    assert [*computed.get_ydata()] == [cold.overlap, hot.overlap]
    (bars,) = ax.containers
    assert [*bars.lines[0].get_ydata()] == [cold.alpha, hot.alpha]
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(min(cold.rates)), pytest.approx(max(cold.rates)))
    assert [text.get_text() for text in ax.texts] == ["a drafter"]
