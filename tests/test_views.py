"""What a panel shows: the numbers are the library's, and nothing a model wrote is rendered."""

import html
import re
import threading
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch

from medusa_lib import (
    Generation,
    LoopRecord,
    encode,
    last_logits,
    make_generator,
    medusa_tiny,
    propose_branch,
    run_greedy,
    softmax_temp,
    top_p_indices,
)
from medusa_lib.teaching.demo import metrics_html, run_html
from medusa_lib.teaching.drafter import drafted_branch, plot_branch
from medusa_lib.teaching.prefix_accept import verdicts, verdicts_html
from medusa_lib.teaching.shared.html import MARKS, figure_html, legend_html, mark_html, token_texts
from medusa_lib.teaching.utilities import chips_html, next_tokens, plot_next_tokens

EVIL = "<script>alert(1)</script><img src=x onerror='alert(2)'> & \"b\""
PROMPT = "Once upon a time"


class Page(HTMLParser):
    """The elements and the text that a browser would make of some HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.found = [], "", []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, name, value=None):
        """The attributes of each element that has this one."""
        return [a for _, a in self.found if name in a and value in (None, a[name])]


def harmless(source, tags="div b span sup br small table tr th td"):
    """Parse; fail at any element that ours never make, and at any handler of events."""
    page = Page(source)
    assert set(page.tags) <= set(tags.split())
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]
    return page


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


def test_token_texts_are_each_token_alone(lm):
    ids = encode(lm, PROMPT)
    assert "".join(token_texts(lm, ids)) == PROMPT
    assert token_texts(lm, ids) == token_texts(lm, ids[0].tolist())
    assert token_texts(lm, [lm.eos_id]) == [lm.tokenizer.eos_token]


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.95, 1.0, None])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_next_tokens_are_softmax_and_nucleus(lm, temperature, top_p, standard):
    logits = last_logits(lm, encode(lm, PROMPT))
    view = next_tokens(lm, logits, temperature, top_p, standard=standard, top=5)
    probs = softmax_temp(logits, temperature)
    nucleus = top_p_indices(probs, top_p, standard=standard)
    best = torch.argsort(probs, descending=True, stable=True)[:5]
    assert view.tokens == token_texts(lm, best)
    assert view.probs == probs[best].tolist()
    assert view.nucleus_size == len(nucleus)
    assert view.nucleus_mass == pytest.approx(float(probs[nucleus].sum()), abs=1e-5)
    assert view.kept == [int(token) in set(nucleus.tolist()) for token in best]


def test_next_tokens_need_no_pass_and_refuse_bad_knobs(lm, count_passes):
    logits = last_logits(lm, encode(lm, PROMPT))
    with count_passes(lm) as passes:
        next_tokens(lm, logits)
        for temperature, top_p in ((-1, 0.9), (float("nan"), 0.9), (1.0, -0.1), (1.0, "x")):
            with pytest.raises(ValueError, match="must be"):
                next_tokens(lm, logits, temperature, top_p)
    assert not passes


def test_next_tokens_of_a_tiny_vocabulary(tiny_gpt2):
    logits = last_logits(tiny_gpt2, encode(tiny_gpt2, "abc"))
    view = next_tokens(tiny_gpt2, logits, top=100)
    assert len(view.tokens) == len(logits)
    assert sum(view.probs) == pytest.approx(1)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 0.95), (0.9, 0.5), (1.5, None)])
def test_drafted_branch_has_the_drafters_own_probabilities(lm, temperature, top_p, count_passes):
    ids, span = encode(lm, PROMPT), 4
    with count_passes(lm) as passes:
        draft = drafted_branch(lm, ids, span, temperature, top_p, seed=7)
    assert len(passes) == 2 * span
    wanted = propose_branch(lm, ids, span, temperature, top_p, generator=make_generator(7))
    assert draft.ids == wanted
    assert draft.tokens == token_texts(lm, wanted)
    for n, (token, p) in enumerate(zip(draft.ids, draft.probs, strict=True)):
        before = torch.cat([ids, torch.tensor([draft.ids[:n]], dtype=ids.dtype)], dim=1)
        probs = softmax_temp(last_logits(lm, before), temperature)
        kept = top_p_indices(probs, top_p)
        assert token in kept.tolist()
        assert p == pytest.approx(float(probs[token] / probs[kept].sum()), rel=1e-4)
    assert all(0 < p <= 1 for p in draft.probs)


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


def test_verdicts_after_an_eos_are_not_reached(lm):
    a = encode(lm, " the")[0, 0].item()
    record = LoopRecord(0, (a, lm.eos_id, a), 2, (a,))
    assert [kind for *_, kind in verdicts(lm, record)] == ["accepted", "accepted", "unused"]


def test_chips_show_text_and_id_of_each_token(lm):
    page = harmless(chips_html(lm, PROMPT))
    ids = encode(lm, PROMPT)[0].tolist()
    assert [int(chip["data-id"]) for chip in page.all("class", "chip")] == ids
    assert page.all("role", "group")[0]["aria-label"] == f"{len(ids)} tokens"
    for token, i in zip(token_texts(lm, ids), ids, strict=True):
        assert f"{token.replace(' ', '·')}{i}" in page.text


def test_html_in_a_prompt_is_text_in_chips(lm):
    page = harmless(chips_html(lm, EVIL))
    shown = "".join(token_texts(lm, encode(lm, EVIL)))
    assert shown == EVIL
    for piece in token_texts(lm, encode(lm, EVIL)):
        assert piece.replace(" ", "·") in page.text


def test_html_in_prompt_and_tokens_is_text_in_a_run(lm):
    run = run_of(lm, EVIL)
    page = harmless(run_html(lm, run))
    assert re.sub("[✓✗]", "", page.text) == EVIL + EVIL


def test_a_line_end_is_marked_before_it_breaks():
    assert mark_html("\n", "accepted").endswith("⏎<sup>✓</sup></span><br>")


@pytest.mark.parametrize("text", [EVIL, "a\nb", "</span>", "&lt;", "'\""])
@pytest.mark.parametrize("kind", MARKS)
def test_a_mark_shows_its_text_and_kind(kind, text):
    page = harmless(mark_html(text, kind))
    assert page.text == text.replace("\n", "⏎") + MARKS[kind][0]
    (mark,) = page.all("class", "token")
    assert mark["data-source"] == mark["title"] == kind


def test_legend_names_each_kind_once():
    kinds = ("accepted", "corrected", "greedy")
    assert [m["data-source"] for m in harmless(legend_html(kinds)).all("data-source")] == [*kinds]


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


def draw_evil(ax):
    plot_next_tokens([EVIL, "$a$", 'x id="y" url(#z)'], [0.5, 0.3, 0.2], [True, True, False], ax)


def parse(svg):
    return ElementTree.fromstring(svg)


def test_figures_are_labelled_svg_and_their_texts_are_text():
    svg = figure_html(draw_evil, (6, 2), EVIL)
    root = parse(svg)
    assert svg.startswith("<svg ")
    assert (root.get("role"), root.get("aria-label")) == ("img", EVIL)
    shown = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert EVIL.replace(" ", "·") in shown
    assert "$a$" in shown
    assert 'x·id="y"·url(#z)' in shown
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "g", "defs", "path", "use", "text", "clipPath", "rect", "pattern"}
    assert html.escape("'") in svg.partition(">")[0]


def axes_of(svg):
    """The corners of the axes' white ground: x and y from, x and y to, in points."""
    path = re.search(r'id="patch_2">\s*<path d="([^"]*)"', svg)[1]
    points = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", path)]
    return *map(min, zip(*points, strict=True)), *map(max, zip(*points, strict=True))


def test_margins_in_inches_are_kept():
    svg = figure_html(draw_evil, (6, 2), "x", margins=(2, 0.5, 0.25, 0.125))
    assert axes_of(svg) == pytest.approx((2 * 72, 0.125 * 72, 5.75 * 72, 1.5 * 72))


def test_a_figure_is_the_same_each_time():
    assert figure_html(draw_evil, (6, 2), "x") == figure_html(draw_evil, (6, 2), "x")


def ids_of(svg):
    return [element.get("id") for element in parse(svg).iter() if element.get("id")]


def test_figures_of_different_prefixes_share_no_id_and_refer_to_their_own():
    one, two = (figure_html(draw_evil, (6, 2), "x", prefix) for prefix in ("p1-", "p2-"))
    assert one.replace("p1-", "p2-") == two
    assert len(set(ids_of(one))) == len(ids_of(one))
    assert not set(ids_of(one)) & set(ids_of(two))
    refers = re.findall(r'(?:url\(|href=")#([\w.-]+)', re.sub(">[^<]*<", "><", one))
    assert len(refers) > 5
    assert set(refers) <= set(ids_of(one))
    assert {f"p1-bar-{i}" for i in range(3)} <= set(ids_of(one))


def test_no_style_leaks_into_the_page():
    assert "<style" not in figure_html(draw_evil, (6, 2), "x")


def test_figures_drawn_on_several_threads_come_out_the_same():
    def draw(ax):
        plot_branch([" the", "a"], [0.6, 0.4], ax)

    wanted, got = figure_html(draw, (4, 2), "x"), []
    threads = [
        threading.Thread(target=lambda: got.append(figure_html(draw, (4, 2), "x")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [wanted] * 4
