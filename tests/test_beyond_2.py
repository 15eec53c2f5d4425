"""BEYOND2: replayed texts, acceptance by position, two plots, the drafters' panel."""

from __future__ import annotations

import dataclasses
import html
import math
import re
import threading

import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from medusa_lib import LoopRecord, acceptance_rate, make_generator, run_greedy
from medusa_lib.base.metrics import acceptance_by_position, first_and_later
from medusa_lib.beyond.drafters import ModelDrafter, NgramDrafter, draft_lm
from medusa_lib.beyond.named_drafters import DRAFTERS, make_drafter
from medusa_lib.beyond.one_pass import Branch, one_pass
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.replay import Replays, replay
from medusa_lib.measure.stopwatch import draft_costs, measured_speedups
from medusa_lib.teaching import drafters as beyond_widgets
from medusa_lib.teaching.drafters import (
    DraftersPanel,
    plot_acceptance_by_position,
    plot_expected_speedup,
)
from medusa_lib.teaching.loops import loops_words
from medusa_lib.teaching.shared.controls import DRAFTER_NAMES, MORE_DRAFTER_NAMES
from medusa_lib.teaching.shared.style import BLUE, ORANGE

PROMPT = "In the middle of the forest stood"
LOOPS = [
    LoopRecord(0, (5, 6, 7), 2, (5, 6, 9), correction=9, draft_passes=3, verify_passes=1),
    LoopRecord(1, (1, 2), 0, (8,), correction=8, draft_passes=2, verify_passes=1),
    LoopRecord(2, (), 0, (8,), verify_passes=1),
    LoopRecord(3, (4, 4), 2, (4, 4, 1), bonus=1, draft_passes=2, verify_passes=2),
]


# Replay


def timeless(loops):
    return [dataclasses.replace(loop, seconds=0.0) for loop in loops]


def test_a_tree_cannot_be_replayed(lm, refuses) -> None:
    run = run_greedy(lm, PROMPT, 8)
    with refuses("drafter"):
        replay(lm, run, make_drafter("branches", lm), 3)
    for name in ("heads_chain", "heads_tree"):  # silent without the model's hidden numbers
        with refuses("drafter", lm=lm):
            replay(lm, run, make_drafter(name, lm), 3)
        with refuses("drafter"):
            draft_costs(lm, {"heads": make_drafter(name, lm)}, run)


@pytest.mark.parametrize("drafter", ["self", "ngram", "draft_model"])
@pytest.mark.parametrize("span", [1, 4, 9])
@pytest.mark.parametrize("prompt", [PROMPT, "Tom looked at the clock and"])
def test_a_replay_has_the_loops_of_the_real_run(lm, drafter, span, prompt) -> None:
    known = speculate(lm, prompt, None, 40)
    real = speculate(lm, prompt, drafter, 40, span=span)
    replayed = replay(lm, known, make_drafter(drafter, lm, generator=make_generator(7)), span)
    assert real.new_ids == known.new_ids
    extra = sum(loop.verify_passes for loop in real.loops) - len(real.loops)
    assert extra <= 2, "near ties are settled by further passes, which a replay does not need"
    real = [dataclasses.replace(loop, verify_passes=1) for loop in real.loops]
    assert timeless(replayed) == timeless(real)


def test_a_replay_ends_with_eos_as_the_run_did(tiny_gpt2, count_passes) -> None:
    """EOS is drafted, looked up and never emitted."""

    class Sure:
        def propose(self, state, span):
            at = len(state.ids) - len(known.prompt_ids)
            return Branch([*known.new_ids, tiny_gpt2.eos_id, 5, 5][at : at + span])

    known = speculate(tiny_gpt2, "abc", None, 6)
    known = dataclasses.replace(known, stop_reason="eos")
    with count_passes(tiny_gpt2) as passes:
        loops = replay(tiny_gpt2, known, Sure(), 4)
    assert not passes
    assert [token for loop in loops for token in loop.emitted] == known.new_ids
    assert loops[-1].branch[-1] == tiny_gpt2.eos_id
    assert loops[-1].bonus is loops[-1].correction is None


def test_a_replay_without_a_model_needs_none(lm, count_passes) -> None:
    known = speculate(lm, PROMPT, None, 20)
    with count_passes(lm) as passes:
        loops = replay(lm, known, NgramDrafter(), 4)
    assert not passes
    assert [token for loop in loops for token in loop.emitted] == known.new_ids


def test_replay_checks_its_span(lm, refuses) -> None:
    known = speculate(lm, PROMPT, None, 2)
    with refuses("span", 0, lm):
        replay(lm, known, NgramDrafter(), 0)


def test_an_unsure_drafter_spends_fewer_passes(lm) -> None:
    known = speculate(lm, PROMPT, None, 30)
    spent = []
    for sure in (0.0, 0.3, 0.9):
        drafter = ModelDrafter(draft_lm(lm), 0.0, 1.0, make_generator(0), sure=sure)
        loops = replay(lm, known, drafter, 8)
        spent.append(sum(loop.draft_passes for loop in loops))
    assert spent == sorted(spent, reverse=True)
    assert spent[0] > spent[-1]


def test_replays_are_those_of_every_text_and_are_kept(lm, count_passes) -> None:
    texts = {"a": [speculate(lm, p, None, 12) for p in (PROMPT, "Peter Rabbit")], "b": []}
    drafters = {
        "small": ModelDrafter(draft_lm(lm), 0.0, 1.0, make_generator(7)),
        "n-gram": NgramDrafter(),
    }
    replays = Replays(lm, texts, drafters)
    for name, drafter in drafters.items():
        loops = replays.loops(name, 3, "a")
        expected = [loop for run in texts["a"] for loop in replay(lm, run, drafter, 3)]
        assert timeless(loops) == timeless(expected)
        with count_passes(draft_lm(lm)) as passes:
            assert replays.loops(name, 3, "a") is loops
        assert not passes
    assert replays.loops("small", 3, "b") == []
    assert replays.loops("small", 1, "a") != replays.loops("small", 3, "a")


# What drafting costs


class Slow:
    """Drafts two tokens or none, in a time known beforehand, and notes what it was shown."""

    def __init__(self, clock, tokens) -> None:
        self.clock, self.tokens, self.shown = clock, tokens, []

    def propose(self, state, span):
        self.clock.now += 8.0 if self.shown else 100.0
        self.shown.append(list(state.ids))
        return Branch(self.tokens[:span])


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr("medusa_lib.measure.stopwatch.time.perf_counter", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(("tokens", "each"), [([5, 6], 4.0), ([], 2.0)])
def test_draft_steps_are_timed_on_a_growing_text(lm, clock, monkeypatch, tokens, each) -> None:
    def timed(state, branch):
        clock.now += 0.5
        return one_pass(state, branch)

    known = speculate(lm, PROMPT, None, 5)
    monkeypatch.setattr("medusa_lib.measure.stopwatch.one_pass", timed)
    drafters = {"a": Slow(clock, tokens), "b": Slow(clock, [7])}
    costs = draft_costs(lm, drafters, known, span=4)
    assert costs == {"a": each / 0.5, "b": 8.0 / 0.5}, "the first, slow one is not counted"
    ids = known.prompt_ids
    assert drafters["a"].shown == [ids + known.new_ids[:n] for n in range(6)]


def test_a_draft_step_needs_a_span(lm, refuses) -> None:
    known = speculate(lm, PROMPT, None, 2)
    with refuses("span", 0, lm):
        draft_costs(lm, {"n-gram": NgramDrafter()}, known, 0)


def test_speedups_are_those_of_the_fastest_round(lm, monkeypatch) -> None:
    seconds = iter([6.0, 3.0, 2.0, 8.0, 1.0, 5.0])  # plain, span 1, span 2; twice
    real, calls = speculate, []

    def timed(lm, prompt, drafter, max_new_tokens, span):
        calls.append((drafter, span))
        run = real(lm, prompt, drafter, max_new_tokens, span)
        return dataclasses.replace(run, seconds=next(seconds))

    monkeypatch.setattr("medusa_lib.measure.stopwatch.speculate", timed)
    small = ModelDrafter(draft_lm(lm), 0.0, 1.0, make_generator(0))
    found, alphas = measured_speedups(lm, [PROMPT], {"small": small}, (1, 2), 12)
    assert found == {"small": [6.0 / 1.0, 6.0 / 2.0]}
    assert calls == [(None, 1), (small, 1), (small, 2)] * 2
    real_alphas = [acceptance_rate(real(lm, PROMPT, small, 12, span).loops) for span in (1, 2)]
    assert alphas == {"small": real_alphas}


def test_a_silent_drafter_has_a_speedup_and_an_alpha_of_nothing(lm, refuses) -> None:
    class Silent:
        def propose(self, state, span):
            return Branch()

    found, alphas = measured_speedups(lm, [PROMPT], {"silent": Silent()}, (1,), 3, rounds=1)
    assert alphas == {"silent": [0.0]}
    assert found["silent"][0] > 0
    with refuses("rounds", 0):
        measured_speedups(lm, [PROMPT], {}, (1,), 3, rounds=0)


# Acceptance by position


@pytest.mark.parametrize(
    ("pairs", "first", "later", "change"),
    [
        ([(100, 50), (50, 45), (45, 40)], 0.5, 85 / 95, "rises"),
        ([(100, 90), (90, 30), (30, 10)], 0.9, 40 / 120, "falls"),
        ([(10, 5), (5, 4)], 0.5, 0.8, "stays close"),  # may well be luck
        ([(8, 8), (8, 8)], 1.0, 1.0, "stays close"),
    ],
)
def test_later_positions_against_the_first(pairs, first, later, change) -> None:
    assert first_and_later(pairs) == (pytest.approx(first), pytest.approx(later), change)


def test_nothing_is_later_than_a_lone_first_position() -> None:
    first, later, change = first_and_later([(4, 0)])
    assert (first, change) == (0, "stays close")
    assert math.isnan(later)


def test_acceptance_by_position_counts_by_hand() -> None:
    assert acceptance_by_position(LOOPS) == [(3, 2), (2, 2), (1, 0)]
    assert acceptance_by_position([]) == acceptance_by_position([LOOPS[2]]) == []


def test_acceptance_by_position_adds_up_to_alpha(lm) -> None:
    loops = speculate(lm, PROMPT, "draft_model", 40).loops
    pairs = acceptance_by_position(loops)
    assert all(reached >= accepted for reached, accepted in pairs)
    reached, accepted = (sum(pair[i] for pair in pairs) for i in (0, 1))
    assert accepted / reached == pytest.approx(acceptance_rate(loops))


# Plots


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def test_expected_and_measured_share_a_colour(ax) -> None:
    spans, curve, points = [2, 4, 8], [1.5, 1.25, 1.0], [1.25, 1.0, 0.75]
    plot_expected_speedup(spans, {"a": curve, "b": curve}, {"a": points}, "τ", ax)
    line, marks, other, one = ax.lines
    assert [*line.get_ydata()] == [*other.get_ydata()] == curve
    assert [*marks.get_ydata()] == points
    assert [*line.get_xdata()] == [*marks.get_xdata()] == spans
    assert to_hex(line.get_color()) == to_hex(marks.get_color()) == to_hex(BLUE)
    assert to_hex(other.get_color()) == to_hex(ORANGE)
    assert marks.get_linestyle() == "None"
    assert [*one.get_ydata()] == [1, 1]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["a, formula", "a, measured", "b, formula"]
    assert ax.get_ylabel() == "τ"
    assert [*ax.get_xticks()] == spans


def test_curves_alone_carry_their_plain_names(ax) -> None:
    plot_expected_speedup([1, 2], {"α = 0.5": [1.5, 1.75]}, ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["α = 0.5"]


def test_positions_that_few_loops_reached_are_left_out(ax) -> None:
    pairs = [(20, 10), (10, 8), (4, 4)]
    plot_acceptance_by_position({"a": pairs, "b": [(2, 1)]}, ax=ax)
    a, alpha, b, other = ax.lines
    assert [*a.get_xdata()] == [1, 2]
    assert [*a.get_ydata()] == [0.5, 0.8]
    assert [*alpha.get_ydata()] == pytest.approx([22 / 34] * 2), "α counts every position"
    assert not [*b.get_xdata()]
    areas = next(c for c in ax.collections if isinstance(c, PathCollection)).get_sizes()
    assert areas[0] > areas[1]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["a", "its α, 0.65", "b", "its α, 0.50"]
    assert alpha.get_linestyle() == other.get_linestyle() == "--"
    plot_acceptance_by_position({"a": pairs}, 1, ax)
    assert [*ax.lines[4].get_ydata()] == [0.5, 0.8, 1.0]


# Panel


def says(panel):
    return html.unescape(re.search(r'<p class="says">(.*?)</p>', panel.view.value)[1])


def status(panel):
    found = re.search(r'role="status"[^>]*>(.*?)</div>', panel.message.value)
    return html.unescape(found[1]) if found else ""


def move(panel, **values):
    for name, value in values.items():
        getattr(panel, name).value = value
    assert panel.worker.wait(60)


@pytest.fixture(autouse=True)
def _callbacks_print_nothing(capsys):
    yield
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.fixture
def hold(monkeypatch):
    """Make every run wait at its first loop until it is let go: hold.reached, hold.go."""

    class Hold:
        reached, go = threading.Event(), threading.Event()

    real = beyond_widgets.stream

    def slow(*args, **knobs):
        for record in real(*args, **knobs):
            Hold.reached.set()
            assert Hold.go.wait(30)
            yield record

    monkeypatch.setattr(beyond_widgets, "stream", slow)
    Hold.go.set()
    return Hold


def test_words_hold_every_figure() -> None:
    assert loops_words(LOOPS) == (
        "α = 0.67, τ = 2.00; 8 tokens took 5 verify passes and 7 draft passes"
    )
    assert loops_words([]) == "α = none, τ = none; 0 tokens took 0 verify passes and 0 draft passes"


def test_panel_names_each_drafter_that_ships() -> None:
    assert {name for _, name in MORE_DRAFTER_NAMES} == set(DRAFTERS)
    assert {name for _, name in DRAFTER_NAMES} == {"self", "ngram", "draft_model"}


def test_panel_says_what_it_shows_at_first(lm) -> None:
    panel, again = (DraftersPanel(lm, PROMPT, 12) for _ in range(2))
    run = speculate(lm, PROMPT, "ngram", 12, span=4)
    assert panel.says == again.says == panel._repr_mimebundle_()["text/plain"]
    assert panel.says.startswith("Panel: drafter, span")
    assert panel.says.endswith(loops_words(run.loops))
    assert says(panel) == loops_words(run.loops)
    assert {"medusa-panel", "DraftersPanel"} <= set(panel._dom_classes)
    ids = [set(re.findall(r'\sid="([^"]+)"', one.view.value)) for one in (panel, again)]
    assert ids[0]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("drafter", ["self", "ngram", "draft_model"])
@pytest.mark.parametrize(("span", "adaptive", "temperature"), [(1, False, 0.0), (6, True, 0.8)])
def test_panel_shows_the_run_at_its_controls(lm, drafter, span, adaptive, temperature) -> None:
    panel = DraftersPanel(lm, PROMPT, 12)
    before = panel.says
    move(panel, drafter=drafter, span=span, adaptive=adaptive, temperature=temperature)
    knobs = {"span": span, "adaptive": adaptive, "temperature": temperature}
    run = speculate(lm, PROMPT, drafter, 12, **knobs)
    assert timeless(panel.loops) == timeless(run.loops)
    assert says(panel) == loops_words(run.loops)
    bars = re.findall(r'id="[^"]*-accepted-(\d+)"', panel.view.value)
    assert [int(n) for n in bars] == [loop.index for loop in run.loops]
    assert panel.progress.value == len(run.new_ids)
    assert panel.cancel.disabled
    assert not panel.message.value
    assert panel.says == before, "the text form stays, whatever is moved"


def test_panel_draws_while_the_run_goes_on(lm, monkeypatch) -> None:
    monkeypatch.setattr(beyond_widgets, "REDRAW_SECONDS", 0)
    panel = DraftersPanel(lm, PROMPT, 8)
    views = []
    panel.view.observe(lambda change: views.append(change["new"]), names="value")
    move(panel, drafter="self", span=1)
    drawn = [len(re.findall(r'id="[^"]*-accepted-\d+"', view)) for view in views]
    loops = math.ceil(8 / 2)
    assert drawn == list(range(1, loops + 1))


def test_panel_can_be_cancelled_and_used_again(lm, hold) -> None:
    panel = DraftersPanel(lm, PROMPT, 12)
    hold.go.clear(), hold.reached.clear()
    panel.span.value = 2
    assert hold.reached.wait(30)
    assert not panel.cancel.disabled
    panel.cancel.click()
    hold.go.set()
    assert panel.worker.wait(60)
    assert re.fullmatch(r"cancelled after \d+ tokens; change a control to run again", status(panel))
    assert len(panel.loops) == 1
    assert says(panel) == loops_words(panel.loops)
    assert panel.cancel.disabled
    move(panel, span=3)
    assert not panel.message.value
    assert says(panel) == loops_words(speculate(lm, PROMPT, "ngram", 12, span=3).loops)


def test_a_newer_value_overtakes(lm, hold) -> None:
    panel = DraftersPanel(lm, PROMPT, 12)
    messages = []
    panel.message.observe(lambda change: messages.append(change["new"]), names="value")
    hold.go.clear(), hold.reached.clear()
    panel.span.value = 1
    assert hold.reached.wait(30)
    panel.span.value = 5
    panel.drafter.value = "draft_model"
    hold.go.set()
    assert panel.worker.wait(60)
    run = speculate(lm, PROMPT, "draft_model", 12, span=5)
    assert says(panel) == loops_words(run.loops)
    assert not any(messages), "a run that is overtaken says nothing"


def test_panel_says_that_a_model_has_no_draft_model(tiny_gpt2) -> None:
    panel = DraftersPanel(tiny_gpt2, "abc", 4)
    move(panel, drafter="draft_model")
    assert "draft must be a model with the tokens of tiny-gpt2" in html.unescape(
        panel.message.value
    )
    assert 'role="alert"' in panel.message.value
