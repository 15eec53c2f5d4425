import math
import re
import threading
from dataclasses import replace

import pytest
import torch
from panels import says, status

from medusa_lib.beyond.heads_training import Training, right_ranks
from medusa_lib.beyond.medusa_heads import HeadsError
from medusa_lib.steps.model import make_lm
from medusa_lib.teaching import heads_training as heads_lesson
from medusa_lib.teaching.heads_training import (
    Scores,
    Sets,
    TrainHeadsPanel,
    learn,
    loss_at,
    plot_learning,
    plot_walks,
    score,
    scores_words,
    slope_at,
    start,
    walk,
    write_sets,
)
from medusa_lib.teaching.shared.style import SERIES_LOOKS

LENGTHS = (8, 4, 16)


POINTS = [Scores(0, (0.0, 0.125)), Scores(20, (0.5, 0.25)), Scores(40, (0.75, 0.5))]


@pytest.fixture(scope="module")
def lm_sets(lm) -> Sets:
    return write_sets(lm, 1000, 3, seed=5, lengths=(64, 6, 16))


@pytest.fixture(scope="module")
def sets(tiny_gpt2) -> Sets:
    return write_sets(tiny_gpt2, 200, 3, seed=5, lengths=LENGTHS)


def test_sets_are_seeded_and_do_not_share_a_text(tiny_gpt2) -> None:
    told = []
    sets = write_sets(tiny_gpt2, 200, 2, seed=3, on_batch=told.append, lengths=LENGTHS)
    assert told == [128, 256, 128], "two batches to learn from, then one to be scored on"
    again = write_sets(tiny_gpt2, 200, 2, seed=3, lengths=LENGTHS)
    other = write_sets(tiny_gpt2, 200, 2, seed=4, lengths=LENGTHS)
    assert torch.equal(sets.train.tokens, again.train.tokens)
    assert sets.train.tokens.tolist() != other.train.tokens.tolist()
    assert sets.train.labels.shape[1] == sets.held_out.labels.shape[1] == 2
    assert sets.train.tokens[: len(sets.held_out)].tolist() != sets.held_out.tokens.tolist()


def test_sets_need_a_token(tiny_gpt2, refuses) -> None:
    with refuses("tokens", 0, tiny_gpt2):
        write_sets(tiny_gpt2, 0)


@pytest.mark.parametrize("kind", ["medusa", "hydra"])
def test_heads_learn_and_are_scored_on_the_way(lm, lm_sets, kind) -> None:
    training, told = Training(24, 128), []
    learner = start(lm, lm_sets, kind, training)
    assert (learner.heads.shape.kind, learner.heads.shape.count) == (kind, 3)
    points = list(learn(lm, learner, lm_sets, training, 10, told.append))
    assert [point.step for point in points] == [0, 10, 20, 24]
    assert told == list(range(1, 25))
    assert points[0].right[0] < 0.02, "an untrained head says the token that was just chosen"
    assert points[-1].right[0] > points[0].right[0] + 0.02
    ranks = right_ranks(learner.heads, lm_sets.held_out, lm.vocab_size)
    right = [float((row == 0).float().mean()) for row in ranks.T]
    assert points[-1].right == tuple(right) == score(learner.heads, lm_sets.held_out, 4096).right


def test_learning_ends_where_it_is_told_to(tiny_gpt2, sets, refuses) -> None:
    def stop(step):
        if step == 2:
            raise InterruptedError

    training = Training(9, 16)
    learner = start(tiny_gpt2, sets, "medusa", training)
    with pytest.raises(InterruptedError):
        list(learn(tiny_gpt2, learner, sets, training, 1, stop))
    assert learner.step == 2
    with refuses("every", 0):
        list(learn(tiny_gpt2, learner, sets, training, 0))


def differ_without_colour(lines) -> bool:
    looks = {(line.get_marker(), line.get_linestyle()) for line in lines}
    return len(looks) == len(lines)


def test_learning_has_a_line_for_each_head(ax) -> None:
    assert plot_learning(POINTS, "a title", ax) is ax
    assert [[*line.get_ydata()] for line in ax.lines] == [[0.0, 0.5, 0.75], [0.125, 0.25, 0.5]]
    assert [*ax.lines[0].get_xdata()] == [0, 20, 40]
    assert sorted(text.get_text() for text in ax.texts) == ["head 1", "head 2"]
    assert ax.get_title() == "a title"
    assert "steps" in ax.get_xlabel()
    assert ax.get_ylabel().startswith("right ÷ asked")
    assert differ_without_colour(ax.lines)


def test_learning_draws_nothing_yet_and_many_heads(ax) -> None:
    plot_learning([], "", ax)
    assert not ax.lines
    plot_learning([Scores(0, (0.0,) * 8)], "", ax)
    assert len(ax.lines) == 8
    assert differ_without_colour(ax.lines[: len(SERIES_LOOKS)])


def test_one_number_goes_down_its_loss() -> None:
    """The slope is the loss's own, and steps along it end where the loss is least."""
    w = torch.linspace(-1, 5, 7, dtype=torch.float64, requires_grad=True)
    sun = torch.sigmoid(w - 1)
    loss = -(0.75 * sun.log() + 0.25 * (1 - sun).log())
    loss.sum().backward()
    assert [loss_at(x) for x in w.tolist()] == pytest.approx(loss.tolist())
    assert [slope_at(x) for x in w.tolist()] == pytest.approx(w.grad.tolist())
    small, large = walk(2, 12), walk(20, 12)
    assert len(small) == 13
    assert all(loss_at(b) < loss_at(a) for a, b in zip(small[:6], small[1:], strict=False))
    assert small[-1] == pytest.approx(1 + math.log(3), abs=0.05)
    assert loss_at(large[-1]) > loss_at(0), "too far a step climbs the other side"


def test_walks_lie_on_the_loss(ax) -> None:
    plot_walks({"slow": walk(2, 4), "fast": walk(20, 4)}, ax)
    _, slow, fast = ax.lines
    for line in (slow, fast):
        assert [*line.get_ydata()] == [loss_at(w) for w in line.get_xdata()]
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2"] * 2


@pytest.fixture
def panel(tiny_gpt2, sets, monkeypatch):
    """A panel whose texts are written at once; 20 steps."""
    monkeypatch.setattr("medusa_lib.teaching.heads_training.write_sets", lambda *_, **__: sets)
    monkeypatch.setattr("medusa_lib.teaching.heads_training.BATCH", 32)
    return TrainHeadsPanel(tiny_gpt2, steps=20)


@pytest.fixture
def hold(monkeypatch):
    """Make every training wait at its first step until it is let go: hold.reached, hold.go."""

    class Hold:
        reached, go = threading.Event(), threading.Event()

    real = heads_lesson.train_steps

    def slow(*args):
        for step in real(*args):
            Hold.reached.set()
            assert Hold.go.wait(30)
            yield step

    monkeypatch.setattr(heads_lesson, "train_steps", slow)
    return Hold


def test_words_hold_every_figure() -> None:
    said = "hydra, 40 steps: best guess of heads 1 to 2 right 0.75, 0.50"
    assert scores_words("hydra", POINTS) == said
    assert scores_words("hydra", []) == "no heads yet"


def test_panel_does_nothing_before_train_is_pressed(lm, count_passes) -> None:
    with count_passes(lm) as passes:
        panel, again = (TrainHeadsPanel(lm) for _ in range(2))
    assert not passes
    assert not panel.worker.busy
    assert panel.says == again.says == panel._repr_mimebundle_()["text/plain"]
    assert panel.says.startswith("Panel: kind of heads and steps")
    assert "Press <b>Train</b>" in panel.view.value
    assert panel.cancel.disabled
    assert {"medusa-panel", "TrainHeadsPanel"} <= set(panel._dom_classes)


def test_panel_refuses_a_model_that_heads_do_not_fit(tiny_gpt2) -> None:
    other = make_lm(tiny_gpt2.tokenizer, tiny_gpt2.model, "other")
    model = other.model
    kind = model.config.model_type
    model.config.model_type = "bloom"
    try:
        with pytest.raises(HeadsError, match="for heads, got bloom"):
            TrainHeadsPanel(replace(other))
    finally:
        model.config.model_type = kind


@pytest.mark.parametrize("kind", ["medusa", "hydra"])
def test_panel_trains_what_its_controls_say_and_draws_on_the_way(
    tiny_gpt2, sets, panel, kind
) -> None:
    views, before = [], panel.says
    panel.view.observe(lambda change: views.append(change["new"]), names="value")
    panel.kind.value = kind
    assert not panel.worker.busy, "only the button trains"
    panel.go.click()
    assert panel.worker.wait(60)
    training = Training(20, 32)
    learner = start(tiny_gpt2, sets, kind, training)
    points = list(learn(tiny_gpt2, learner, sets, training, 1))
    assert panel.points == points
    assert says(panel) == scores_words(kind, points)
    assert f"heads of kind {kind}" in panel.view.value
    assert len(views) >= 12, "a picture each time the heads were scored"
    drawn = re.findall(r'id="[^"]*-head-(\d)"', panel.view.value)
    assert drawn == ["1", "2", "3"]
    assert panel.progress.value == panel.progress.max == 20
    assert panel.cancel.disabled
    assert not panel.message.value
    assert panel.learner.heads.shape.kind == kind
    assert panel.says == before, "the text form stays"


def test_panel_can_be_cancelled_and_used_again(panel, hold) -> None:
    panel.go.click()
    assert hold.reached.wait(30)
    assert not panel.cancel.disabled
    panel.cancel.click()
    hold.go.set()
    assert panel.worker.wait(60)
    assert status(panel) == "cancelled after 1 steps; press Train to start anew"
    assert panel.cancel.disabled
    assert not panel.points
    panel.go.click()
    assert panel.worker.wait(60)
    assert panel.points[-1].step == 20
    assert not panel.message.value


def test_pressing_again_overtakes(panel, hold) -> None:
    messages = []
    panel.message.observe(lambda change: messages.append(change["new"]), names="value")
    panel.go.click()
    assert hold.reached.wait(30)
    panel.kind.value = "medusa"
    panel.go.click()
    hold.go.set()
    assert panel.worker.wait(60)
    assert says(panel).startswith("medusa, 20 steps")
    assert not any("cancelled" in message for message in messages)


def test_panel_writes_its_texts_once_and_can_be_cancelled_there(tiny_gpt2, monkeypatch) -> None:
    calls = []
    real = write_sets

    def few(lm, tokens, seed, on_batch):
        calls.append(tokens)
        return real(lm, tokens, 2, seed, on_batch, lengths=LENGTHS)

    monkeypatch.setattr("medusa_lib.teaching.heads_training.write_sets", few)
    monkeypatch.setattr("medusa_lib.teaching.heads_training.BATCH", 16)
    panel = TrainHeadsPanel(tiny_gpt2, tokens=128, steps=20)
    stopped = threading.Event()
    stopped.set()
    panel.worker._stop = stopped  # as after Cancel
    panel.run(stopped)
    assert status(panel).startswith("cancelled while the model wrote its texts")
    assert panel.sets is None
    for _ in range(2):
        panel.go.click()
        assert panel.worker.wait(60)
        assert panel.points[-1].step == 20
    assert calls == [128, 128], "cancelled once, then written once"


def test_panel_shows_an_error(panel, monkeypatch) -> None:
    def broken(*_args, **_more):
        raise RuntimeError("no room left")

    monkeypatch.setattr("medusa_lib.teaching.heads_training.start", broken)
    panel.go.click()
    assert panel.worker.wait(30)
    assert 'role="alert"' in panel.message.value
    assert "no room left" in panel.message.value
    assert panel.cancel.disabled
