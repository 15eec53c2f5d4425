import html
import math
import re
import threading

import pytest
from loops_by_hand import PROMPT, timeless
from matplotlib.figure import Figure
from panels import move, says, status

from medusa_lib.beyond.named_drafters import DRAFTERS
from medusa_lib.beyond.speculative import speculate
from medusa_lib.teaching import drafters as beyond_widgets
from medusa_lib.teaching.drafters import DraftersPanel, plot_reach
from medusa_lib.teaching.loops import loops_words
from medusa_lib.teaching.shared.controls import DRAFTER_NAMES, MORE_DRAFTER_NAMES


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def test_reach_has_a_bar_for_each_drafter_and_kind(ax) -> None:
    plot_reach(["a", "b"], {"goes on": [1.25, 2.0], "circles": [1.5, 3.0]}, ax)
    assert [bar.get_height() for bar in ax.patches] == [1.25, 2.0, 1.5, 3.0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["goes on", "circles"]


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


def test_a_run_that_is_done_is_not_called_cancelled(lm, monkeypatch) -> None:
    """Cancel is pressed while the last picture is drawn."""
    panel = DraftersPanel(lm, PROMPT, 8)
    monkeypatch.setattr(beyond_widgets, "REDRAW_SECONDS", math.inf)
    monkeypatch.setattr(panel, "picture", lambda loops: panel.cancel.click() or "drawn")
    move(panel, span=2)
    assert panel.view.value == "drawn"
    assert not panel.message.value
    assert sum(len(loop.emitted) for loop in panel.loops) == 8


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
