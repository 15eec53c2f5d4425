import html
import re

import pytest
import torch
from drawing import texts, ticks
from panels import PROMPT, move

from medusa_lib import (
    encode,
    last_logits,
    make_generator,
    propose_branch,
    softmax_temp,
    top_p_indices,
)
from medusa_lib.teaching.drafter import BranchPanel, drafted_branch, plot_branch
from medusa_lib.teaching.shared.html import token_texts
from medusa_lib.teaching.shared.style import visible


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


def test_branch_bars_and_labels(ax):
    plot_branch([" the", "a", "b"], [0.6, 0.25, 0.001], ax)
    assert [bar.get_height() for bar in ax.patches] == [0.6, 0.25, 0.001]
    assert texts(ax) == ["0.60", "0.25", "<0.01"]
    assert ticks(ax.xaxis) == ["1\n·the", "2\na", "3\nb"]
