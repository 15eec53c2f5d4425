"""Every panel: setting a control shows what the pure function says, and nothing else happens."""

import html
import re
import threading
import time
from html.parser import HTMLParser

import ipywidgets as w
import pytest
import torch

from medusa_lib import (
    ModelLoadError,
    compare,
    encode,
    last_logits,
    load_lm,
    medusa_tiny,
    run_greedy,
)
from medusa_lib.teaching.demo import PRESETS, DemoPanel, run_html
from medusa_lib.teaching.drafter import BranchPanel, drafted_branch
from medusa_lib.teaching.drafters import DraftersPanel
from medusa_lib.teaching.loops import LoopsPanel
from medusa_lib.teaching.prefix_accept import AcceptPanel, verdicts, verdicts_html
from medusa_lib.teaching.sampling import SamplingPanel
from medusa_lib.teaching.shared.controls import (
    NAME_SLIDERS,
    span_slider,
    temperature_slider,
    top_p_slider,
)
from medusa_lib.teaching.shared.style import visible
from medusa_lib.teaching.shared.worker import StoppedError, Worker, elsewhere, threads_beside
from medusa_lib.teaching.utilities import TokensPanel, chips_html, next_tokens

PANELS = [TokensPanel, SamplingPanel, BranchPanel, AcceptPanel, LoopsPanel, DemoPanel]
KNOBS = [BranchPanel, AcceptPanel, LoopsPanel]
PROMPT = "Once upon a time there was a"
EVIL = "<script>alert(1)</script> <img src=x onerror=alert(2)>"


class Reader(HTMLParser):
    """The tags, attributes and text of some HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def says(panel):
    """The line of figures that a panel's view holds."""
    return html.unescape(re.search(r'<p class="says">(.*?)</p>', panel.view.value)[1])


def settle(panel):
    assert panel.worker.wait(60)


def alert(panel):
    """The panel's error message, or "" if there is none."""
    found = re.search(r'role="alert"[^>]*>(.*?)</div>', panel.message.value)
    return html.unescape(found[1]) if found else ""


def status(panel):
    found = re.search(r'role="status"[^>]*>(.*?)</div>', panel.message.value)
    return html.unescape(found[1]) if found else ""


def move(panel, **values):
    """Set controls to values; wait where the panel works on a thread."""
    for name, value in values.items():
        getattr(panel, name).value = value
    if hasattr(panel, "worker"):
        settle(panel)


@pytest.fixture(autouse=True)
def _callbacks_print_nothing(capsys):
    """Not a word on stdout or stderr, not even a traceback of a thread."""
    yield
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.fixture
def hold(monkeypatch):
    """Make every run wait at its first loop until it is let go: hold.reached, hold.go."""

    class Hold:
        reached, go = threading.Event(), threading.Event()

    real = medusa_tiny, compare

    def waiting(on_loop):
        def first(record):
            Hold.reached.set()
            assert Hold.go.wait(30)
            return on_loop(record)

        return first

    def slow_tiny(*args, on_loop, **knobs):
        return real[0](*args, on_loop=waiting(on_loop), **knobs)

    def slow_compare(lm, prompt, cfg, on_loop, drafter):
        return real[1](lm, prompt, cfg, waiting(on_loop), drafter)

    monkeypatch.setattr("medusa_lib.teaching.loops.medusa_tiny", slow_tiny)
    monkeypatch.setattr("medusa_lib.teaching.demo.compare", slow_compare)
    return Hold


# What all panels have in common


@pytest.fixture(scope="module", params=PANELS, ids=lambda kind: kind.__name__)
def twins(request, tiny_gpt2):
    """Two panels of one kind in the same page, drawn, for tests that only look."""
    panels = request.param(tiny_gpt2), request.param(tiny_gpt2)
    if request.param is DemoPanel:
        for panel in panels:
            panel.update()
            settle(panel)
    return panels


def test_text_form_is_a_sentence_that_never_changes(twins):
    panel, again = twins
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == panel.says == again.says
    assert re.fullmatch(r"Panel: .{20,}", panel.says)
    assert not re.search(r"0x[0-9a-f]{6}|object at", panel.says)
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_every_control_has_a_name_and_every_button_a_tooltip(twins):
    def all_of(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from all_of(child)

    for control in all_of(twins[0]):
        if isinstance(control, w.Button):
            assert control.tooltip
        if hasattr(control, "value") and not isinstance(control, w.HTML):
            assert control.description
    (script,) = (c for c in twins[0].children if getattr(c, "value", "") == NAME_SLIDERS)
    assert script.layout.display == "none"


def test_a_panel_can_be_found_by_its_class(twins):
    assert {"medusa-panel", type(twins[0]).__name__} <= set(twins[0]._dom_classes)


def test_two_panels_of_a_page_share_no_id(twins):
    one, two = (re.findall(r'\sid="([^"]+)"', panel.view.value) for panel in twins)
    assert one or isinstance(twins[0], AcceptPanel)
    assert len(set(one)) == len(one) == len(two)
    assert not set(one) & set(two)


def test_pictures_have_a_text_alternative(twins):
    svgs = re.findall("<svg [^>]*>", twins[0].view.value)
    assert svgs or isinstance(twins[0], AcceptPanel)
    for svg in svgs:
        assert 'role="img"' in svg
        assert re.search('aria-label="[^"]{5,}"', svg)


@pytest.mark.parametrize("kind", [SamplingPanel, *KNOBS])
def test_text_form_does_not_follow_the_sliders(tiny_gpt2, kind):
    panel = kind(tiny_gpt2, "abc")
    before = panel._repr_mimebundle_()["text/plain"]
    move(panel, temperature=0.3)
    assert panel._repr_mimebundle_()["text/plain"] == before


@pytest.mark.parametrize("kind", [SamplingPanel, *KNOBS])
@pytest.mark.parametrize("prompt", ["", "  \n", "word " * 600])
def test_a_bad_prompt_in_code_is_a_clear_error(lm, kind, prompt):
    with pytest.raises(ValueError, match=r"must (be|have)"):
        kind(lm, prompt)


@pytest.mark.parametrize("kind", PANELS)
def test_html_in_a_prompt_never_becomes_an_element(lm, kind):
    panel = kind(lm, EVIL, **({"max_new_tokens": 4} if kind is LoopsPanel else {}))
    if kind is DemoPanel:
        panel.tokens.value = 4
        panel.update()
        settle(panel)
    read = Reader(panel.view.value + panel.message.value)
    assert not read.tags & {"script", "img"}
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert not alert(panel)


def test_an_error_in_a_callback_is_shown_and_escaped(lm, monkeypatch):
    panel = SamplingPanel(lm, PROMPT)
    picture = panel.view.value

    def broken(*_args, **_more):
        raise RuntimeError(f"out of memory {EVIL}")

    with monkeypatch.context() as patch:
        patch.setattr("medusa_lib.teaching.sampling.next_tokens", broken)
        panel.temperature.value = 0.4
    assert alert(panel) == f"out of memory {EVIL}"
    assert not Reader(panel.message.value).tags & {"script", "img"}
    assert panel.view.value == picture
    panel.temperature.value = 0.5
    assert not panel.message.value
    assert panel.view.value != picture


# STEP2


def test_tokens_panel_shows_the_text_in_its_box(lm):
    panel = TokensPanel(lm, "Once")
    for text in ("Once upon", " ", "The king", "é \u200b 日本 😀"):
        panel.text.value = text
        assert panel.view.value.startswith(chips_html(lm, text))
        view = next_tokens(lm, last_logits(lm, encode(lm, text)), top=8)
        for token, p in zip(view.tokens, view.probs, strict=True):
            assert f" {p:.3f}</text>" in panel.view.value
            assert html.escape(visible(token), quote=False) in panel.view.value
        assert not panel.message.value


@pytest.mark.parametrize(
    ("bad", "said"), [("", "non-empty"), ("word " * 600, "at most"), ("\ud800", "valid Unicode")]
)
def test_tokens_panel_survives_bad_text(lm, bad, said):
    panel = TokensPanel(lm, "Once")
    before = panel.view.value
    panel.text.value = bad
    assert said in alert(panel)
    assert "Traceback" not in alert(panel)
    assert panel.view.value == before
    panel.text.value = "Once upon"
    assert not panel.message.value
    assert panel.view.value.startswith(chips_html(lm, "Once upon"))


def test_tokens_panel_shows_html_as_text(lm):
    panel = TokensPanel(lm, "Once")
    panel.text.value = EVIL
    assert panel.view.value.startswith(chips_html(lm, EVIL))
    assert not Reader(panel.view.value).tags & {"script", "img"}


# STEP3


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 0.95), (0.5, 0.4), (2.0, 1.0), (1.2, 0)])
def test_sampling_panel_shows_the_sliders_values(lm, temperature, top_p, standard, count_passes):
    panel = SamplingPanel(lm, PROMPT)
    with count_passes(lm) as passes:
        move(panel, temperature=temperature, top_p=top_p, standard=standard)
    assert not passes, "a move must not run the model"
    logits = last_logits(lm, encode(lm, PROMPT))
    view = next_tokens(lm, logits, temperature, top_p, standard=standard)
    assert panel.current() == view
    assert says(panel) == (
        f"nucleus: {view.nucleus_size} of {len(logits)} tokens, "
        f"together {view.nucleus_mass:.3f} of the probability"
    )
    shown = [float(p) for p in re.findall(r">\s(\d\.\d{3})</text>", panel.view.value)]
    assert shown == [round(p, 3) for p in view.probs]
    assert len(re.findall('id="[^"]*-bar-', panel.view.value)) == len(view.probs)


def test_sliders_stay_in_range():
    for slider, low, high in (
        (temperature_slider(), 0, 2),
        (top_p_slider(), 0, 1),
        (span_slider(), 1, 8),
    ):
        slider.value = 99
        assert slider.value == high
        slider.value = -99
        assert slider.value == low


# STEP4


@pytest.mark.parametrize(("span", "temperature", "top_p"), [(1, 0.0, 0.95), (5, 1.3, 0.8)])
def test_branch_panel_shows_its_drafts(lm, span, temperature, top_p):
    panel = BranchPanel(lm, PROMPT, branches=2)
    move(panel, span=span, temperature=temperature, top_p=top_p)
    ids = encode(lm, PROMPT)
    for seed in (7, 8):
        draft = drafted_branch(lm, ids, span, temperature, top_p, seed)
        line = re.search(rf'data-seed="{seed}">(.*?)</li>', panel.view.value)[1]
        shown = [html.unescape(t) for t in re.findall("<code[^>]*>(.*?)</code>", line)]
        assert shown == [visible(token) for token in draft.tokens]
    first = drafted_branch(lm, ids, span, temperature, top_p, 7)
    for p in first.probs:
        assert (f">{p:.2f}</text>" if p >= 0.005 else ">&lt;0.01</text>") in panel.view.value


def test_draft_again_takes_the_next_seeds(lm):
    panel = BranchPanel(lm, PROMPT, seed=1, branches=2)
    first = panel.view.value
    panel.again.click()
    assert re.findall('data-seed="(.)"', panel.view.value) == ["3", "4"]
    assert panel.view.value != first
    panel.seed = 1
    panel.update()
    assert panel.view.value == first


# STEP5


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


# Worker


def test_worker_runs_a_job_and_says_when_it_is_busy():
    worker, go, done = Worker(), threading.Event(), []
    assert not worker.busy
    assert worker.wait(1)
    worker.start(lambda stop: (go.wait(10), done.append(stop.is_set())))
    assert worker.busy
    assert not worker.wait(0.01)
    go.set()
    assert worker.wait(10)
    assert done == [False]


def test_worker_cancel_sets_the_event_of_the_running_job():
    worker, reached = Worker(), threading.Event()
    worker.start(lambda stop: (reached.set(), stop.wait(10)))
    assert reached.wait(10)
    worker.cancel()
    assert worker.wait(10)
    worker.cancel()  # with nothing to cancel it does nothing


def test_the_newest_job_wins_and_never_two_run_at_once():
    worker, lock, log, seen = Worker(), threading.Lock(), [], []

    def job(n):
        def run(stop):
            seen.append(lock.acquire(blocking=False))
            stop.wait(0.2)
            if not stop.is_set():
                log.append(n)
            lock.release()

        return run

    for n in range(20):
        worker.start(job(n))
    assert worker.wait(30)
    assert log == [19]
    assert all(seen)


def test_starts_from_many_threads_leave_one_winner():
    worker, lock, overlaps, ends = Worker(), threading.Lock(), [], []

    def job(stop):
        overlaps.append(not lock.acquire(blocking=False))
        stop.wait(0.1)
        ends.append(stop.is_set())
        lock.release()

    threads = [threading.Thread(target=worker.start, args=[job]) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.wait(30)
    assert not any(overlaps)
    assert ends.count(False) == 1


def test_worker_knows_which_job_was_overtaken():
    worker, stops = Worker(), []
    worker.start(lambda stop: (stops.append(stop), stop.wait(10)))
    while not stops:
        time.sleep(0.001)
    assert not worker.overtaken(stops[0])
    worker.start(stops.append)
    assert worker.wait(10)
    assert [worker.overtaken(stop) for stop in stops] == [True, False]


def threads_elsewhere():
    """How many threads PyTorch computes with in a thread made now."""
    return elsewhere(torch.get_num_threads)


def test_worker_computes_with_its_own_number_of_threads_and_leaves_the_others():
    usual, within = torch.get_num_threads(), []
    for threads, expected in ((1, 1), (usual + 2, usual + 2), (None, usual)):
        worker, go = Worker(threads), threading.Event()
        worker.start(lambda _stop, go=go: (within.append(torch.get_num_threads()), go.wait(10)))
        while not within:
            time.sleep(0.001)
        assert within.pop() == expected
        assert threads_elsewhere() == torch.get_num_threads() == usual, "while it runs"
        go.set()
        assert worker.wait(10)
        assert threads_elsewhere() == torch.get_num_threads() == usual


def test_a_number_of_threads_set_while_a_worker_runs_stays():
    usual, go, runs = torch.get_num_threads(), threading.Event(), threading.Event()
    worker = Worker(usual + 1)
    worker.start(lambda _stop: (runs.set(), go.wait(10)))
    assert runs.wait(10)
    try:
        torch.set_num_threads(usual + 3)
        go.set()
        assert worker.wait(10)
        assert threads_elsewhere() == torch.get_num_threads() == usual + 3
    finally:
        torch.set_num_threads(usual)


def test_workers_that_begin_at_once_keep_their_numbers():
    usual, seen = torch.get_num_threads(), []
    for _ in range(100):
        one, other = Worker(usual + 1), Worker(None)
        one.start(lambda _stop: None)
        other.start(lambda _stop: seen.append(torch.get_num_threads()))
        assert one.wait(10)
        assert other.wait(10)
    assert set(seen) == {usual}


def test_a_job_may_change_its_number_of_threads():
    usual, seen, worker = torch.get_num_threads(), [], Worker(1)

    def job(_stop):
        worker.use(usual + 1)
        seen.append(torch.get_num_threads())

    worker.start(job)
    assert worker.wait(10)
    assert seen == [usual + 1]
    assert threads_elsewhere() == torch.get_num_threads() == usual


@pytest.mark.parametrize("panel", [LoopsPanel, DraftersPanel, DemoPanel])
def test_a_panel_refuses_what_is_no_lm(panel):
    with pytest.raises(ValueError, match="lm must be an LM"):
        panel("bookworm")


def test_only_a_small_model_decodes_with_one_thread_beside_the_cells(lm, monkeypatch):
    assert threads_beside(lm) == 1
    monkeypatch.setattr("medusa_lib.teaching.shared.worker.SMALL_MODEL", 1_000_000)
    assert threads_beside(lm) is None


# STEP6


@pytest.mark.parametrize(("span", "temperature", "top_p"), [(1, 0.0, 0.95), (5, 1.0, 0.8)])
def test_loops_panel_shows_the_run_of_its_sliders(lm, span, temperature, top_p):
    panel = LoopsPanel(lm, PROMPT, max_new_tokens=10)
    move(panel, span=span, temperature=temperature, top_p=top_p)
    run = medusa_tiny(lm, PROMPT, 10, span=span, temperature=temperature, top_p=top_p)
    assert panel.result.new_ids == run.new_ids == run_greedy(lm, PROMPT, 10).new_ids
    assert says(panel) == panel.words(run)
    for number in (run.model_passes, run.draft_passes, run.verify_passes, len(run.new_ids)):
        assert str(number) in says(panel)
    bars = re.findall(r'id="[^"]*-accepted-(\d+)"', panel.view.value)
    assert [int(n) for n in bars] == [record.index for record in run.loops]
    assert panel.progress.value == len(run.new_ids)
    assert panel.cancel.disabled
    assert not panel.message.value


def test_loops_panel_can_be_cancelled_and_used_again(lm, hold):
    hold.go.set()
    panel = LoopsPanel(lm, PROMPT, max_new_tokens=12)
    before = panel.view.value
    hold.go.clear(), hold.reached.clear()
    panel.span.value = 1
    assert hold.reached.wait(30)
    assert not panel.cancel.disabled
    panel.cancel.click()
    hold.go.set()
    settle(panel)
    assert status(panel) == "cancelled after 1 tokens; move a slider to run again"
    assert not alert(panel)
    assert panel.view.value == before
    assert panel.cancel.disabled
    move(panel, span=2)
    assert not panel.message.value
    run = medusa_tiny(lm, PROMPT, 12, span=2)
    assert says(panel) == panel.words(run)


def test_a_newer_value_overtakes_the_loops_that_run(lm, hold):
    hold.go.set()
    panel = LoopsPanel(lm, PROMPT, max_new_tokens=12)
    messages = []
    panel.message.observe(lambda change: messages.append(change["new"]), names="value")
    hold.go.clear(), hold.reached.clear()
    panel.span.value = 1
    assert hold.reached.wait(30)
    panel.span.value = 5
    panel.temperature.value = 0.5
    hold.go.set()
    settle(panel)
    run = medusa_tiny(lm, PROMPT, 12, span=5, temperature=0.5)
    assert panel.result.model_passes == run.model_passes
    assert says(panel) == panel.words(run)
    assert not any(messages), "a run that is overtaken says nothing"


def test_loops_panel_shows_a_run_without_a_token(scripted_lm):
    panel = LoopsPanel(scripted_lm([]), "a", max_new_tokens=5)
    assert says(panel).startswith("α = ")
    assert "0 tokens" in says(panel)
    assert not panel.message.value


# STEP7


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


def test_stopped_is_no_error_of_the_library():
    assert not issubclass(StoppedError, ValueError | ModelLoadError)
