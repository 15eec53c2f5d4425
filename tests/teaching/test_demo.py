import re

import pytest
from markup import harmless
from panels import EVIL, PROMPT, Reader, alert, move, says, settle, status

from medusa_lib import Generation, LoopRecord, compare, encode, load_lm, medusa_tiny, run_greedy
from medusa_lib.teaching.demo import PRESETS, DemoPanel, metrics_html, run_html


def assert_shows(panel, lm, result):
    """The view holds both runs, token by token, and their figures."""
    for run in (result.greedy, result.medusa):
        assert run_html(lm, run) in panel.view.value
    sources = re.findall(
        'data-source="([^"]+)"', panel.view.value.partition('data-run="Medusa-tiny"')[2]
    )
    assert sources[: len(result.medusa.new_ids)] == result.medusa.sources
    assert says(panel) == "<b>identical: yes</b>"
    assert f'data-metric="model_passes">{result.medusa.model_passes}<' in panel.view.value


def test_demo_panel_shows_the_comparison_of_its_controls(lm):
    panel = DemoPanel(lm)
    assert "Press" in panel.view.value
    move(panel, prompt=PROMPT, temperature=0.6, top_p=0.9, span=4, tokens=12, seed=3)
    assert panel.result is None, "it runs when told to, not before"
    panel.go.click()
    settle(panel)
    cfg = panel.cfg()
    assert (cfg.TEMPERATURE, cfg.TOP_P, cfg.SPAN, cfg.MAX_NEW_TOKENS, cfg.SEED) == (
        0.6,
        0.9,
        4,
        12,
        3,
    )
    assert_shows(panel, lm, compare(lm, PROMPT, cfg, drafter=panel.drafter.value))
    assert panel.progress.value == panel.progress.max
    assert panel.cancel.disabled
    assert not panel.message.value


def test_presets_fill_the_prompt(lm):
    panel = DemoPanel(lm)
    for preset in PRESETS:
        panel.presets.value = preset
        assert panel.prompt.value == preset
    panel.prompt.value = "my own"
    panel.presets.value = None
    assert panel.prompt.value == "my own"
    assert DemoPanel(lm, "my own").presets.value is None


@pytest.mark.parametrize(
    ("control", "bad", "said"),
    [
        ("prompt", "", "non-empty"),
        ("prompt", " \t", "visible character"),
        ("prompt", "word " * 600, "at most"),
        ("prompt", "\ud800", "valid Unicode"),
        ("model", " ", "MODEL_ID"),
    ],
)
def test_demo_panel_survives_bad_input(lm, control, bad, said):
    panel = DemoPanel(lm, PROMPT)
    move(panel, tokens=4)
    good = getattr(panel, control).value
    move(panel, **{control: bad})
    panel.go.click()
    settle(panel)
    assert said in alert(panel)
    assert "Traceback" not in alert(panel)
    move(panel, **{control: good})
    panel.go.click()
    settle(panel)
    assert not panel.message.value
    assert_shows(panel, lm, compare(lm, PROMPT, panel.cfg(), drafter=panel.drafter.value))


def test_demo_panel_says_in_one_line_that_a_model_is_unknown(lm, monkeypatch):
    monkeypatch.setattr("medusa_lib.steps.model.hub_reachable", lambda: False)
    panel = DemoPanel(lm, PROMPT)
    move(panel, tokens=4, model="no-such/model<b>")
    panel.go.click()
    settle(panel)
    assert "no-such/model<b>" in alert(panel)
    assert "bookworm" in alert(panel)
    assert "\n" not in alert(panel)
    assert "b" not in Reader(panel.message.value).tags
    assert "oading" not in panel.view.value
    assert panel.lm is lm
    move(panel, model=lm.model_id)
    panel.go.click()
    settle(panel)
    assert not panel.message.value
    assert_shows(panel, lm, compare(lm, PROMPT, panel.cfg(), drafter=panel.drafter.value))


def test_demo_panel_loads_another_model_once(lm, tiny_folder, monkeypatch, capsys):
    folder, loads = str(tiny_folder()), []
    capsys.readouterr()  # saving it draws a progress bar
    counted = lambda *args: loads.append(args) or load_lm(*args)  # noqa: E731
    monkeypatch.setattr("medusa_lib.teaching.demo.load_lm", counted)
    panel = DemoPanel(lm, "abc")
    said = []
    panel.message.observe(lambda change: said.append(change["new"]), names="value")
    move(panel, tokens=4, model=folder)
    for _ in range(2):
        panel.go.click()
        settle(panel)
    assert loads == [(folder, lm.device)]
    assert panel.lm.model_id == folder
    assert panel.result.medusa.new_ids == run_greedy(panel.lm, "abc", 4).new_ids
    assert any(f"loading {folder}" in message for message in said)
    assert not panel.message.value


def test_demo_panel_can_be_cancelled_and_used_again(lm, hold):
    panel = DemoPanel(lm, PROMPT)
    move(panel, tokens=20)
    assert panel.cancel.disabled
    panel.go.click()
    assert hold.reached.wait(30)
    assert not panel.cancel.disabled
    panel.cancel.click()
    hold.go.set()
    settle(panel)
    assert status(panel) == "cancelled; press Run to start again"
    assert panel.result is None
    assert panel.cancel.disabled
    assert not panel.go.disabled
    move(panel, tokens=5)
    panel.go.click()
    settle(panel)
    assert not panel.message.value
    assert_shows(panel, lm, compare(lm, PROMPT, panel.cfg(), drafter=panel.drafter.value))


@pytest.mark.parametrize("how", ["a newer value", "run again"])
def test_a_newer_run_overtakes_the_demo_that_runs(lm, hold, how):
    panel = DemoPanel(lm, PROMPT)
    messages = []
    panel.message.observe(lambda change: messages.append(change["new"]), names="value")
    panel.tokens.value = 20
    panel.go.click()
    assert hold.reached.wait(30)
    panel.span.value = 5  # a run in progress follows the sliders
    panel.tokens.value = 6
    if how == "run again":
        panel.go.click()
    hold.go.set()
    settle(panel)
    assert panel.result.cfg.SPAN == 5
    assert_shows(panel, lm, compare(lm, PROMPT, panel.cfg(), drafter=panel.drafter.value))
    assert not any(messages), "a run that is overtaken says nothing"


def run_of(lm, text, sources=("accepted", "corrected")):
    """A run whose new tokens are those of a text, one loop each."""
    ids = encode(lm, text)[0].tolist()
    loops = [
        LoopRecord(i, (t,), 1, (t,))
        if sources[i % len(sources)] == "accepted"
        else LoopRecord(i, (t,), 0, (t,), correction=t)
        for i, t in enumerate(ids)
    ]
    return Generation(ids, ids, text, "length", loops)


def test_html_in_prompt_and_tokens_is_text_in_a_run(lm):
    run = run_of(lm, EVIL)
    page = harmless(run_html(lm, run))
    assert re.sub("[✓✗]", "", page.text) == EVIL + EVIL


def test_a_run_marks_each_token_with_its_source(lm):
    for run in (run_greedy(lm, PROMPT, 6), medusa_tiny(lm, PROMPT, 12, temperature=0.5)):
        page = harmless(run_html(lm, run))
        marks = page.all("class", "token")
        assert [mark["data-source"] for mark in marks] == run.sources
        assert len(marks) == len(run.new_ids)
        shown = re.sub("[✓✗]", "", page.text)
        assert shown == run.text.replace("\n", "⏎")


def test_metrics_are_the_runs(lm):
    loops = [
        LoopRecord(0, (5, 6, 7), 2, (5, 6, 9), correction=9, draft_passes=3, verify_passes=3),
        LoopRecord(1, (1, 2), 0, (8,), correction=8, draft_passes=2, verify_passes=1),
    ]
    medusa = Generation([1], [5, 6, 9, 8], "text", "eos", loops, seconds=1.234, model_passes=9)
    greedy = run_greedy(lm, PROMPT, 3)
    page = harmless(metrics_html({"greedy": greedy, EVIL: medusa}))
    cells = dict(
        re.findall(
            r'data-metric="(\w+)">[^<]*</td><td [^>]*>([^<]*)<',
            metrics_html({"greedy": greedy, "Medusa-tiny": medusa}),
        )
    )
    assert cells == {
        "new_tokens": "4",
        "stop_reason": "eos",
        "loops": "2",
        "draft_passes": "5",
        "verify_passes": "4",
        "model_passes": "9",
        "passes_per_token": "2.25",
        "acceptance_rate": "0.50",
        "draft_efficiency": "0.40",
        "mean_accepted_length": "2.00",
        "seconds": "1.234",
    }
    assert EVIL in page.text
    # Greedy drafts nothing: no α, and the cell says so.
    assert 'data-metric="acceptance_rate">–<' in metrics_html({"greedy": greedy})
    for label in ("α = accepted ÷ evaluated", "accepted ÷ drafted", "τ = emitted ÷ loops"):
        assert label in page.text
