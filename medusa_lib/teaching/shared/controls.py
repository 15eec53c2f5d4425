"""Every slider, box and button of the panels, made in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as w

from medusa_lib.beyond.drafters import draft_fits
from medusa_lib.beyond.heads_files import heads_fit
from medusa_lib.steps.model import LM

CODE_STYLE = "border:1px solid #777;padding:1px 4px"
LABEL_STYLE = {"description_width": "100px"}
WIDE = {"width": "700px", "max_width": "98%"}
NARROW = {"width": "420px", "max_width": "98%"}
# What ipywidgets leaves undone, done in each view of a panel by the load event of an empty style
# sheet. A slider's handle has no name that assistive technology could read, nor have the buttons
# that play a slider: each handle is named by its label, as it comes. A second view of a panel would
# repeat the ids within its pictures: each view puts a number of its own before them. Notebook 7
# takes arrow keys for its cells' before a handle gets them: Lumino leaves an element with this
# attribute alone. It is there for arrow keys only, so that Shift+Enter still runs the cell. And
# where no style sheet of JupyterLab's pages hides what stands in for this panel, it is hidden here.
NAME_SLIDERS = """<style onload="
  const panel = this.closest('.medusa-panel');
  const view = 'view' + (window.medusaViews = (window.medusaViews || 0) + 1);
  const own = svg => {
    svg.dataset.view = view;
    for (const part of [svg, ...svg.querySelectorAll('*')])
      for (const held of part.attributes)
        if (held.name === 'id') held.value = view + held.value;
        else if (held.value.includes('#'))
          held.value = held.value.replace(/^#(?=panel)|url\\(#/g, found => found + view);
  };
  const name = () => {
    panel.querySelectorAll('[role=slider]').forEach(handle => {
      const label = handle.closest('.widget-slider').querySelector('.widget-label');
      handle.setAttribute('aria-label', label.textContent);
    });
    panel.querySelectorAll('.widget-play button').forEach((button, i) =>
      button.setAttribute('aria-label', ['Play', 'Stop', 'Repeat'][i]));
    panel.querySelectorAll('svg:not([data-view])').forEach(own);
    document.querySelectorAll('.medusa-instead').forEach(part => {
      part.hidden ||= !part.closest('.jp-OutputArea') && panel.matches('.' + part.dataset.panel);
    });
  };
  name();
  new MutationObserver(name).observe(panel, {childList: true, subtree: true});
  window.medusaKeys ||= !window.addEventListener('keydown', pressed => {
    const handle = pressed.target.closest?.('.medusa-panel [role=slider]');
    handle?.toggleAttribute('data-lm-suppress-shortcuts', pressed.key.startsWith('Arrow'));
  }, true);
"></style>"""
DRAFTER_NAMES = (
    ("a repeated n-gram", "ngram"),
    ("the draft model", "draft_model"),
    ("the model itself", "self"),
)
MORE_DRAFTER_NAMES = (
    *DRAFTER_NAMES,
    ("branches of the model itself", "branches"),
    ("the model's first layer", "early_exit"),
    ("lookahead", "lookahead"),
    ("a chain of heads", "heads_chain"),
    ("a tree of heads", "heads_tree"),
    ("an n-gram, else a tree", "heads_ngram"),
)


def slider(name: str, value: float, low: float, high: float, step: float = 1) -> w.Widget:
    """A slider over [low, high]; of whole numbers where the step is one."""
    kind, shape = (w.IntSlider, "d") if isinstance(step, int) else (w.FloatSlider, ".2f")
    look = {"style": LABEL_STYLE, "layout": NARROW, "readout_format": shape}
    return kind(value=value, min=low, max=high, step=step, description=name, **look)


def log_slider(
    name: str, value: float, low: float, high: float, step: float = 0.05, base: int = 10
) -> w.FloatLogSlider:
    """A slider whose steps multiply: over [base^low, base^high], `step` in powers of base."""
    look = {"style": LABEL_STYLE, "layout": NARROW, "readout_format": ".4g"}
    ends = {"min": low, "max": high, "step": step, "base": base}
    return w.FloatLogSlider(value=value, description=name, **ends, **look)


def temperature_slider(value: float = 0.9) -> w.FloatSlider:
    """Temperature from 0 (greedy) to 2."""
    return slider("temperature", value, 0.0, 2.0, 0.05)


def top_p_slider(value: float = 0.95) -> w.FloatSlider:
    """Nucleus mass from 0 (one token) to 1 (all)."""
    return slider("top-p", value, 0.0, 1.0, 0.01)


def span_slider(value: int = 3) -> w.IntSlider:
    """Tokens drafted per loop, 1 to 8."""
    return slider("span", value, 1, 8)


def knob_sliders() -> list[w.Widget]:
    """Temperature, top-p and span, at the values of Cfg."""
    return [temperature_slider(), top_p_slider(), span_slider()]


def dropdown(
    name: str,
    value: str | None,
    options: Sequence[object],
    layout: dict[str, str] = NARROW,
) -> w.Dropdown:
    """One of some options."""
    look = {"style": LABEL_STYLE, "layout": layout}
    return w.Dropdown(options=options, value=value, description=name, **look)


def drafter_dropdown(
    value: str, name: str = "drafter", names: tuple[tuple[str, str], ...] = DRAFTER_NAMES
) -> w.Dropdown:
    """Who drafts, one of `names`."""
    return dropdown(name, value, names)


def model_box(value: str, known: Sequence[str]) -> w.Combobox:
    """A model's name, one of those known or any other."""
    look = {"style": LABEL_STYLE, "layout": NARROW}
    return w.Combobox(value=value, options=known, ensure_option=False, description="model", **look)


def seed_box(value: int) -> w.BoundedIntText:
    """A seed, to be typed."""
    look = {"description": "seed", "style": LABEL_STYLE}
    return w.BoundedIntText(value=value, min=0, max=2**31, **look)


def checkbox(said: str) -> w.Checkbox:
    """A box to tick, at first empty."""
    return w.Checkbox(value=False, description=said, layout=w.Layout(width="auto"))


def go_button(name: str, tooltip: str) -> w.Button:
    """What begins a run."""
    return w.Button(description=name, button_style="primary", tooltip=tooltip)


def drafter_fits(name: str, lm: LM) -> bool:
    """True unless the drafter of that name needs a draft model or heads that `lm` has not."""
    if name == "draft_model":
        return draft_fits(lm)
    return heads_fit(lm) if name.startswith("heads") else True


def text_box(value: str, name: str = "prompt") -> w.Text:
    """One line of text, reported as it is typed."""
    return w.Text(value=value, description=name, style=LABEL_STYLE, layout=WIDE)


def observe(callback: Callable[[], None], *controls: w.Widget) -> None:
    """Call `callback` after any control's value changes."""
    for control in controls:
        control.observe(lambda _change: callback(), names="value")


def cancel_button() -> w.Button:
    """Stop the run; disabled while none is in progress."""
    return w.Button(description="Cancel", tooltip="Stop after this loop", disabled=True)


def progress_bar(name: str, most: int) -> w.IntProgress:
    """Tokens written so far, out of `most`."""
    return w.IntProgress(max=most, description=name, bar_style="info", style=LABEL_STYLE)


def again_button() -> w.Button:
    """Draft anew at the same settings."""
    layout = {"margin": "2px 2px 2px 108px"}  # below the sliders, not below their names
    return w.Button(description="Draft again", tooltip="Draft with the next seed", layout=layout)
