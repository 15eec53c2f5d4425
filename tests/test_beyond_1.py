"""BEYOND1: its panel, views and plots show what the run did; the cost helpers compute."""

import html
import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from medusa_lib import encode, run_greedy
from medusa_lib.base.course import BEYOND, BEYOND_WORDS
from medusa_lib.beyond.one_pass import Branch, State, one_pass, roll_back
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.roofline import (
    Machine,
    free_positions,
    measure_machine,
    pass_operations,
    roofline,
    roofline_report,
    weight_bytes,
)
from medusa_lib.measure.stopwatch import pass_seconds
from medusa_lib.teaching.one_pass import (
    OnePassPanel,
    mask_html,
    most_accepted,
    pass_html,
    pass_view,
    plot_pass_cost,
    plot_roofline,
)
from medusa_lib.teaching.shared import page as lessons_module
from medusa_lib.teaching.shared.html import token_texts
from medusa_lib.teaching.shared.page import plot_beyond, where_we_are_beyond
from medusa_lib.teaching.shared.style import BLUE, visible

mpl.use("Agg")

PROMPT = "Once upon a time there was a"
EVIL = "<script>alert(1)</script> <img src=x onerror=alert(2)>"


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


class Fixed:
    """A drafter that proposes the same tokens each time."""

    def __init__(self, tokens):
        self.tokens = list(tokens)

    def propose(self, state, span):
        return Branch(self.tokens[:span])


class Reader(HTMLParser):
    """The tags and attributes of some HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes = set(), []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs


def says(panel):
    return html.unescape(re.search(r'<p class="says">(.*?)</p>', panel.view.value)[1])


def alert(panel):
    found = re.search(r'role="alert"[^>]*>(.*?)</div>', panel.message.value)
    return html.unescape(found[1]) if found else ""


def settle(panel):
    assert panel.worker.wait(60)


# The view of a loop


@pytest.mark.parametrize("drafter", [None, "ngram", "self"])
@pytest.mark.parametrize("text", [PROMPT, "la la la la"])
def test_a_view_tells_what_the_cache_really_held(lm, text, drafter) -> None:
    """Replay a run by hand, pass by pass, and compare with each loop's view."""
    run = speculate(lm, text, drafter, 20, span=4)
    state = State.start(lm, run.prompt_ids)
    written = []
    for record in run.loops:
        view = pass_view(lm, run, record.index)
        held = state.seen
        assert [*view.before, view.last] == token_texts(lm, state.ids)
        assert view.held == held
        choices = one_pass(state, record.branch).argmax(-1).tolist()
        assert view.fed == state.seen - held
        assert view.said == token_texts(lm, choices[: len(view.said)])
        assert len(view.said) == record.accepted + 1
        cut = state.seen - (len(state.ids) + record.accepted)
        roll_back(state, len(state.ids) + record.accepted)
        assert (view.after, len(view.rolled_back)) == (state.seen, cut)
        state.ids += record.emitted
        written += [token for token, _ in view.kept]
    assert written == token_texts(lm, run.new_ids)


def test_the_words_of_a_correction_a_bonus_and_no_draft(lm) -> None:
    greedy = run_greedy(lm, PROMPT, 4)
    wrong = (greedy.new_ids[1] + 1) % lm.vocab_size
    run = speculate(lm, PROMPT, Fixed([greedy.new_ids[0], wrong, wrong]), 4, span=3)
    prompt = len(greedy.prompt_ids)
    assert pass_view(lm, run, 0).words == (
        f"loop 0, of {len(run.loops)} loops: cache 0, fed {prompt + 3} in one pass; 1 of 3 drafts "
        f"accepted, then one corrected; 2 rolled back, cache {prompt + 1}"
    )
    run = speculate(lm, PROMPT, Fixed(greedy.new_ids[:2]), 3, span=2)
    assert "2 of 2 drafts accepted, then one bonus; 0 rolled back" in pass_view(lm, run, 0).words
    assert "no draft; 0 rolled back" in pass_view(lm, speculate(lm, PROMPT, None, 1), 0).words


def test_near_ties_are_mentioned(lm) -> None:
    run = speculate(lm, PROMPT, None, 1, tie_bound=1e6)
    assert "in one pass, 1 more for near ties; no draft" in pass_view(lm, run, 0).words


def replaced_eos(lm, token):
    """The same model, with another token as its end."""
    return type(lm)(lm.model_id, lm.tokenizer, lm.model, lm.device, token, lm.context_length)


@pytest.mark.parametrize("drafts", [0, 2, 3, 4])
def test_the_end_of_a_text(lm, drafts) -> None:
    """EOS as plain token, as bonus, as last accepted draft, and with a draft after it."""
    greedy = run_greedy(lm, PROMPT, 5).new_ids
    assert len(set(greedy[:4])) == 4, "choose a prompt without a repetition"
    other = replaced_eos(lm, greedy[2])
    run = speculate(other, PROMPT, Fixed(greedy[:drafts]) if drafts else None, 9, span=4)
    assert run.stop_reason == "eos"
    view = pass_view(other, run, len(run.loops) - 1)
    assert view.ends
    assert view.said[-1] == token_texts(other, [greedy[2]])[0]
    assert "then EOS" in view.words
    assert "EOS</b>: the text ends" in pass_html(view)
    assert [text for text, _ in view.kept] == token_texts(other, run.loops[-1].emitted)


# The HTML of a loop


def test_the_grid_is_the_mask(lm) -> None:
    run = speculate(lm, PROMPT, Fixed([5, 6, 7]), 6, span=3)
    view = pass_view(lm, run, 1)
    rows = re.findall(r"<tr>(.*?)</tr>", mask_html(view))
    looks = [[int(n) for n in re.findall(r'data-look="(\d)"', row)] for row in rows[1:]]
    assert looks == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert [row.count("●") for row in rows[1:]] == [2, 3, 4, 5]
    unread = 4 - len(view.said)
    assert sum("not looked at" in row for row in rows) == unread
    for said, row in zip(view.said, rows[1:], strict=False):
        assert html.escape(visible(said)) in row


def test_kept_and_cut_tokens_are_marked(lm) -> None:
    run = speculate(lm, PROMPT, "ngram", 20, span=4)
    for record in run.loops:
        source = pass_html(pass_view(lm, run, record.index))
        added = source.partition("added to the text")[2]
        kept, _, rest = added.partition("rolled back")
        assert re.findall('data-source="(.*?)"', kept) == list(record.sources)
        cut = rest.partition("the cache now")[0]
        assert cut.count('data-source="unused"') == len(record.branch) - record.accepted


def test_a_long_text_is_cut_short(lm) -> None:
    run = speculate(lm, "one two three four five six seven", None, 1)
    view = pass_view(lm, run, 0)
    assert "… " in pass_html(view, shown=2)
    assert "… " not in pass_html(view, shown=len(view.before))


def test_nothing_of_the_text_becomes_an_element(lm) -> None:
    run = speculate(lm, EVIL, Fixed(encode(lm, "<b>&")[0].tolist()), 4)
    read = Reader("".join(pass_html(pass_view(lm, run, i)) for i in range(len(run.loops))))
    assert read.tags <= {"table", "tr", "th", "td", "span", "sup", "br", "b"}
    assert not [name for name, _ in read.attributes if name.startswith("on")]


# The panel


def test_panel_starts_at_the_loop_that_accepted_most_and_says_so(lm) -> None:
    panel, run = OnePassPanel(lm, PROMPT), speculate(lm, PROMPT, "ngram", 30, span=4)
    best = max(record.accepted for record in run.loops)
    assert panel.loop.value == most_accepted(run)
    assert run.loops[panel.loop.value].accepted == best
    words = pass_view(lm, run, panel.loop.value).words
    assert says(panel) == words
    assert panel.says.endswith(words)
    assert panel._repr_mimebundle_()["text/plain"] == panel.says
    for loop in (0, 2):
        chosen = OnePassPanel(lm, PROMPT, loop=loop)
        assert chosen.loop.value == loop
        assert says(chosen).startswith(f"loop {loop}, of {len(run.loops)} loops: ")


def test_the_loop_slider_shows_each_loop_without_a_pass(lm, count_passes) -> None:
    panel, run = OnePassPanel(lm, PROMPT), speculate(lm, PROMPT, "ngram", 30, span=4)
    assert (panel.loop.min, panel.loop.max) == (0, len(run.loops) - 1)
    before = panel.says
    with count_passes(lm) as passes:
        for index in range(len(run.loops)):
            panel.loop.value = index
            view = pass_view(lm, run, index)
            assert says(panel) == view.words
            assert pass_html(view) in panel.view.value
    assert not passes
    assert panel._repr_mimebundle_()["text/plain"] == before


@pytest.mark.parametrize(("drafter", "span", "text"), [("self", 2, PROMPT), ("ngram", 8, "la la")])
def test_a_moved_control_runs_again(lm, drafter, span, text) -> None:
    panel = OnePassPanel(lm, PROMPT)
    panel.loop.value = panel.loop.max
    for name, value in {"drafter": drafter, "span": span, "prompt": text}.items():
        getattr(panel, name).value = value
        settle(panel)
    run = speculate(lm, text, drafter, 30, span=span)
    assert panel.result.new_ids == run.new_ids == run_greedy(lm, text, 30).new_ids
    assert panel.loop.max == len(run.loops) - 1
    assert 0 <= panel.loop.value <= panel.loop.max
    assert says(panel) == pass_view(lm, run, panel.loop.value).words
    assert not panel.message.value


def test_panel_survives_bad_text_and_shows_html_as_text(lm) -> None:
    with pytest.raises(ValueError, match="visible character"):
        OnePassPanel(lm, " ")
    panel = OnePassPanel(lm, PROMPT)
    before = panel.view.value
    for bad, said in (("", "non-empty"), ("word " * 600, "at most")):
        panel.prompt.value = bad
        settle(panel)
        assert said in alert(panel)
        assert panel.view.value == before
    shown = panel.loop.value
    panel.loop.value = shown - 1
    assert "at most" in alert(panel), "the prompt is still a bad one"
    assert says(panel).startswith(f"loop {shown - 1}, ")
    panel.prompt.value = EVIL
    settle(panel)
    assert not panel.message.value
    assert not Reader(panel.view.value).tags & {"script", "img"}


def test_panel_is_named_and_never_jumps(tiny_gpt2, capsys) -> None:
    panel = OnePassPanel(tiny_gpt2, "abcabc")
    assert {"medusa-panel", "OnePassPanel"} <= set(panel._dom_classes)
    for control in (panel.prompt, panel.drafter, panel.span, panel.loop):
        assert control.description
    assert panel.view.layout.min_height
    assert capsys.readouterr().out == ""


def test_a_text_without_a_token_has_a_loop_to_show(lm) -> None:
    eos = run_greedy(lm, PROMPT, 1).new_ids[0]
    panel = OnePassPanel(replaced_eos(lm, eos), PROMPT)
    assert "then EOS" in says(panel)
    assert (panel.loop.value, panel.loop.max) == (0, 0)


# The plots and the drawing of where we are


@pytest.mark.parametrize("lesson", range(1, len(BEYOND_WORDS) + 1))
def test_where_we_are_beyond_marks_one_lesson(lesson, ax, capsys, monkeypatch) -> None:
    plot_beyond(lesson, ax)
    boxes = [p for p in ax.patches if type(p).__name__ == "FancyBboxPatch"]
    filled = [to_hex(box.get_facecolor()) == to_hex(BLUE) for box in boxes]
    assert filled == [i == lesson for i in range(len(BEYOND_WORDS) + 1)]
    words = [f"BEYOND{i}\n{w.replace('_', ' ')}" for i, w in enumerate(BEYOND_WORDS, start=1)]
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["STEP0–7", *words]
    drawn = []
    monkeypatch.setattr(lessons_module, "plot_beyond", drawn.append)
    monkeypatch.setattr(lessons_module.plt, "show", lambda: drawn.append("shown"))
    where_we_are_beyond(lesson)
    assert drawn == [lesson, "shown"]
    at = BEYOND[lesson - 1]
    said = f"You are at BEYOND{lesson}, after STEP0 to STEP7: {at.word} ({at.file})\n"
    assert capsys.readouterr().out == said


def test_pass_cost_lines_are_multiples_of_one_position(ax) -> None:
    plot_pass_cost({"small": {1: 0.5, 2: 0.75, 8: 1.0}, "big": {1: 2.0, 4: 5.0}}, ax)
    small, big, dear, free = ax.lines
    np.testing.assert_allclose(small.get_xydata(), [[1, 1], [2, 1.5], [8, 2]])
    np.testing.assert_allclose(big.get_xydata(), [[1, 1], [4, 2.5]])
    np.testing.assert_array_equal(dear.get_xydata(), [[n, n] for n in (1, 2, 4, 8)])
    np.testing.assert_array_equal(free.get_ydata(), [1] * 4)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["small", "big", "a pass for each position", "more positions are free"]


def test_roofline_is_the_longer_of_the_two(ax) -> None:
    measured = {1: 0.003, 4: 0.004}
    plot_roofline(measured, {1: (0.002, 0.001), 4: (0.002, 0.004)}, ax)
    reading, computing, roof, points = (list(line.get_ydata()) for line in ax.lines)
    assert reading == [2, 2]
    assert computing == [1, 4]
    assert roof == [2, 4]
    assert points == [3, 4]
    assert list(ax.lines[-1].get_xdata()) == [1, 4]


# What a pass costs


def test_every_timed_pass_is_rolled_back(tiny_gpt2, count_passes) -> None:
    with count_passes(tiny_gpt2) as passes:
        taken = pass_seconds(tiny_gpt2, (1, 3), context=35, repeats=4)  # else the context is full
    assert list(taken) == [1, 3]
    assert len(passes) == 1 + 2 * 4


def test_a_machine_is_measured_roughly() -> None:
    machine = measure_machine(numbers=2**20, width=256, repeats=3)
    assert 1e7 < machine.bytes_per_second < 1e14
    assert 1e7 < machine.operations_per_second < 1e16
    for bad in ({"numbers": 0}, {"width": 0}, {"repeats": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
            measure_machine(**bad)


def test_roofline_and_free_positions_by_hand(tiny_gpt2) -> None:
    machine = Machine(bytes_per_second=100.0, operations_per_second=1000.0)
    reading, computing = roofline(tiny_gpt2, machine, 2)
    assert reading == weight_bytes(tiny_gpt2) / 100
    assert computing == pass_operations(tiny_gpt2, 2) / 1000
    free = free_positions(tiny_gpt2, machine)
    assert free * computing / 2 == pytest.approx(reading)
    numbers = weight_bytes(tiny_gpt2) / 4
    used = pass_operations(tiny_gpt2, 1) / 2
    assert free == pytest.approx(20 * numbers / used)


def test_the_roofline_in_words_by_hand(tiny_gpt2) -> None:
    """Reading takes 6 seconds, so 12 at one position are mostly overhead, 10 are not."""
    machine = Machine(weight_bytes(tiny_gpt2) / 6, pass_operations(tiny_gpt2, 1) / 2)
    measured = {1: 10.0, 2: 14.0, 4: 16.0, 8: 20.0}
    assert roofline_report("a model", tiny_gpt2, machine, measured) == (
        "a model, 1 position: reading all weights from memory makes 60% of the pass, "
        "so the larger part is reading weights\n"
        "  8 positions: 2.00 times the cost of 1, where the roofline alone allows 2.67\n"
        "  by the roofline alone 3 positions are free\n"
        "  measured, nearly free (below 1.5 times) up to 2 positions"
    )
    slow = roofline_report("a model", tiny_gpt2, machine, {1: 12.0, 4: 17.0}, count=4)
    assert "makes 50% of the pass, so the larger part is something else" in slow
    assert "4 positions: 1.42 times the cost of 1, where the roofline alone allows 1.33" in slow
    assert slow.endswith("up to 4 positions")
