import html

import pytest
import torch
from drawing import texts, ticks
from markup import harmless
from matplotlib.colors import to_rgba
from panels import EVIL, PROMPT, Reader, alert

from medusa_lib import encode, last_logits, softmax_temp, top_p_indices
from medusa_lib.teaching.shared.html import token_texts
from medusa_lib.teaching.shared.style import BLUE, visible
from medusa_lib.teaching.utilities import TokensPanel, chips_html, next_tokens, plot_next_tokens


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


def test_next_tokens_bars_labels_and_nucleus(ax):
    probs, kept = [0.5, 0.25, 0.125], [True, True, False]
    plot_next_tokens([" the", "\n", ""], probs, kept, ax)
    bars = ax.patches
    assert [bar.get_width() for bar in bars] == probs
    assert [bar.get_gid() for bar in bars] == ["bar-0", "bar-1", "bar-2"]
    assert ticks(ax.yaxis) == ["·the", "⏎", "∅"]
    assert ax.yaxis.get_inverted()
    assert texts(ax) == [" 0.500", " 0.250", " 0.125", "nucleus ends here"]
    assert [bar.get_facecolor() == to_rgba(BLUE) for bar in bars] == kept
    assert [bool(bar.get_hatch()) for bar in bars] == [not inside for inside in kept]
    (edge,) = ax.lines
    assert list(edge.get_ydata()) == [1.5, 1.5]


@pytest.mark.parametrize("kept", [None, [True, True]])
def test_next_tokens_without_an_end_of_the_nucleus(kept, ax):
    plot_next_tokens(["a", "b"], [0.6, 0.4], kept, ax)
    assert not ax.lines
    assert texts(ax) == [" 0.600", " 0.400"]


@pytest.mark.parametrize(
    ("top", "end"), [(0.03, 0.1), (0.1, 0.2), (0.3, 0.5), (0.5, 1), (0.99, 1), (1.0, 1)]
)
def test_next_tokens_axis_ends_in_steps(top, end, ax):
    plot_next_tokens(["a"], [top], ax=ax)
    assert ax.get_xlim() == pytest.approx((0, 1.12 * end))
