import base64
import html
import re
import threading
from xml.etree import ElementTree

import pytest
from markup import harmless
from panels import EVIL, PROMPT

from medusa_lib import encode
from medusa_lib.teaching.drafter import plot_branch
from medusa_lib.teaching.shared.html import (
    MARKS,
    figure_html,
    legend_html,
    mark_html,
    pictures_apart,
    table_html,
    token_texts,
)
from medusa_lib.teaching.utilities import plot_next_tokens


def test_token_texts_are_each_token_alone(lm):
    ids = encode(lm, PROMPT)
    assert "".join(token_texts(lm, ids)) == PROMPT
    assert token_texts(lm, ids) == token_texts(lm, ids[0].tolist())
    assert token_texts(lm, [lm.eos_id]) == [lm.tokenizer.eos_token]


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


def test_a_table_is_escaped() -> None:
    shown = table_html(("a", "<b>"), [("<i>", "1 & 2")])
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "1 &amp; 2" in shown


def test_a_picture_on_its_own_shares_no_id_with_the_page() -> None:
    picture = figure_html(lambda ax: ax.plot([1, 2]), (2, 1), "a < b", prefix="panel1-")
    shown = pictures_apart(f"<p>before</p>{picture}<p>between</p>{picture}<p>after</p>")
    assert "<svg" not in shown
    assert " id=" not in shown
    src = r'src="data:image/svg\+xml;base64,(.*?)"'
    images = re.findall(rf'<img alt="a &lt; b" style="[^"]+" {src}>', shown)
    assert [base64.b64decode(image).decode() for image in images] == [picture.strip()] * 2
    assert re.sub("<img.*?>\n?", "", shown) == "<p>before</p><p>between</p><p>after</p>"
