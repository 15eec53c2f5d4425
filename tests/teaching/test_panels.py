import re

import ipywidgets as w
import pytest
from panels import EVIL, Reader, alert, move, settle

from medusa_lib.teaching.demo import DemoPanel
from medusa_lib.teaching.device import RacePanel
from medusa_lib.teaching.drafter import BranchPanel
from medusa_lib.teaching.drafters import DraftersPanel
from medusa_lib.teaching.loops import LoopsPanel
from medusa_lib.teaching.prefix_accept import AcceptPanel
from medusa_lib.teaching.sampling import SamplingPanel
from medusa_lib.teaching.shared.controls import NAME_SLIDERS
from medusa_lib.teaching.utilities import TokensPanel

PANELS = [RacePanel, TokensPanel, SamplingPanel, BranchPanel, AcceptPanel, LoopsPanel, DemoPanel]
WITHOUT_PLOT = RacePanel, AcceptPanel


KNOBS = [BranchPanel, AcceptPanel, LoopsPanel]


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
    assert one or isinstance(twins[0], WITHOUT_PLOT)
    assert len(set(one)) == len(one) == len(two)
    assert not set(one) & set(two)


def test_pictures_have_a_text_alternative(twins):
    svgs = re.findall("<svg [^>]*>", twins[0].view.value)
    assert svgs or isinstance(twins[0], WITHOUT_PLOT)
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


@pytest.mark.parametrize("panel", [RacePanel, LoopsPanel, DraftersPanel, DemoPanel])
def test_a_panel_refuses_what_is_no_lm(panel):
    with pytest.raises(ValueError, match="lm must be an LM"):
        panel("bookworm")


def test_a_cell_shows_the_panel_and_what_stands_in_for_it(twins, monkeypatch):
    """The widget with its sentence as before; beside it the picture at the starting values."""
    shown, (panel, again) = [], twins
    place = "medusa_lib.teaching.shared.panel.display"
    monkeypatch.setattr(place, lambda data, raw: shown.append(data))
    panel._ipython_display_()
    widget, instead = shown
    assert widget == panel._repr_mimebundle_()
    assert instead == {"text/html": panel.instead()}
    kept = re.sub("<style>.*?</style>", "", instead["text/html"], flags=re.S)
    assert f'data-panel="{type(panel).__name__}"' in kept
    read = Reader(kept)
    assert read.text.startswith(panel.says)
    assert read.text.endswith("Run this cell to move the sliders.")
    assert kept.count("<img alt=") == panel.view.value.count("<svg ")
    assert not re.findall(r' id="', kept)
    if type(panel) is not DemoPanel:  # which tells its seconds
        assert again.instead() == panel.instead()
