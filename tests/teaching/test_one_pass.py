import html
import re

import numpy as np
import pytest
from panels import EVIL, PROMPT, Reader, alert, says, settle
from tiny_models import replaced_eos

from medusa_lib import encode, run_greedy
from medusa_lib.beyond.one_pass import Branch, State, one_pass, roll_back
from medusa_lib.beyond.speculative import speculate
from medusa_lib.teaching.one_pass import (
    OnePassPanel,
    mask_html,
    pass_html,
    pass_view,
    plot_attention,
    plot_pass_cost,
)
from medusa_lib.teaching.shared.html import token_texts
from medusa_lib.teaching.shared.panel import most_accepted
from medusa_lib.teaching.shared.style import visible


class Fixed:
    """A drafter that proposes the same tokens each time."""

    def __init__(self, tokens):
        self.tokens = list(tokens)

    def propose(self, state, span):
        return Branch(self.tokens[:span])


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


def test_pass_cost_lines_are_multiples_of_one_position(ax) -> None:
    plot_pass_cost({"small": {1: 0.5, 2: 0.75, 8: 1.0}, "big": {1: 2.0, 4: 5.0}}, ax)
    small, big, dear, free = ax.lines
    np.testing.assert_allclose(small.get_xydata(), [[1, 1], [2, 1.5], [8, 2]])
    np.testing.assert_allclose(big.get_xydata(), [[1, 1], [4, 2.5]])
    np.testing.assert_array_equal(dear.get_xydata(), [[n, n] for n in (1, 2, 4, 8)])
    np.testing.assert_array_equal(free.get_ydata(), [1] * 4)
    names = {text.get_text() for text in ax.texts}
    assert names == {"small", "big", "a pass for each position", "more positions are free"}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1", "2", "4", "8"]


def test_attention_shows_each_weight_and_parts_the_cache_from_what_is_fed(ax) -> None:
    plot_attention([[0.25, 0.75, 0.0], [0.5, 0.3, 0.2]], ["a", " b", "c"], ax)
    assert [text.get_text() for text in ax.texts] == ["0.25", "0.75", "–", "0.50", "0.30", "0.20"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "·b", "c"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["·b", "c"]
    (border,) = ax.lines
    assert [*border.get_xdata()] == [0.5, 0.5]
