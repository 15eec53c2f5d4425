"""What every panel is: controls → a pure function of the library → one HTML.

Callbacks draw and never print. A bad value shows a message beside the controls. Work of more
than a moment runs on a thread: it reports progress, can be cancelled, and is overtaken by a
newer setting.
"""

from __future__ import annotations

import html
import itertools
import threading
from collections.abc import Callable

import ipywidgets as w
from matplotlib.axes import Axes

from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM
from medusa_lib.teaching.shared.controls import (
    NAME_SLIDERS,
    observe,
    span_slider,
    temperature_slider,
    top_p_slider,
)
from medusa_lib.teaching.shared.html import figure_html
from medusa_lib.teaching.shared.worker import StoppedError


class Panel(w.VBox):
    """Controls above one picture, with a line for messages and a fixed text form.

    The text form is what a reader without widgets sees, and what a notebook's test compares.
    """

    numbers = itertools.count(1)

    def __init__(self, controls: list[w.Widget], height: str = "auto") -> None:
        self.number, self.says = next(Panel.numbers), ""
        self.view = w.HTML(layout=w.Layout(min_height=height))
        self.message = w.HTML(layout=w.Layout(min_height="30px"))  # so that nothing jumps
        names = w.HTML(NAME_SLIDERS, layout=w.Layout(display="none"))
        super().__init__([*controls, self.message, self.view, names])
        self.view.add_class("medusa-view")
        self.add_class("medusa-panel").add_class(type(self).__name__)

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": self.says}

    def redraw(self, draw: Callable[[], str]) -> None:
        """Show what `draw()` returns, or the message of the error it raises."""
        try:
            self.view.value = draw()
            self.message.value = ""
        except StoppedError as stopped:
            self.tell(str(stopped))
        except Exception as error:  # a callback that raises shows nothing at all
            self.complain(str(error) or type(error).__name__)

    def complain(self, text: str) -> None:
        """Show an error message beside the controls."""
        self.message.value = message_html(text, "alert", "#A30000")

    def tell(self, text: str) -> None:
        """Show a message that is no error beside the controls; "" clears it."""
        self.message.value = message_html(text, "status", "#0072B2") if text else ""

    def figure(
        self,
        draw: Callable[[Axes], object],
        size: tuple[float, float],
        label: str,
        name: str = "",
        margins: tuple[float, float, float, float] | None = None,
    ) -> str:
        """A plot as SVG whose ids are this panel's own. name: to tell two plots apart."""
        return figure_html(draw, size, label, f"panel{self.number}{name}-", margins)


def message_html(text: str, role: str, colour: str) -> str:
    style = f"color:{colour};border-left:4px solid {colour};padding-left:6px;line-height:1.4"
    return f'<div role="{role}" style="{style}">{html.escape(text)}</div>'


class KnobsPanel(Panel):
    """Sliders for temperature, top-p and span, above whatever `picture` draws."""

    def __init__(self, lm: LM, prompt: str, seed: int, more: w.Widget, height: str) -> None:
        self.lm, self.prompt, self.ids, self.seed = lm, prompt, start_ids(lm, prompt), seed
        self.temperature, self.top_p = temperature_slider(), top_p_slider()
        self.span = span_slider()
        super().__init__([self.temperature, self.top_p, self.span, more], height)
        observe(self.update, self.temperature, self.top_p, self.span)

    @property
    def knobs(self) -> tuple[int, float, float]:
        """Span, temperature and top-p at the sliders' values."""
        return self.span.value, self.temperature.value, self.top_p.value

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML at the sliders' values."""
        raise NotImplementedError


class RunsAgain:
    """What panels with a run of some seconds share: a thread, a progress bar, a Cancel button.

    They have `worker`, `progress` and `cancel`, and a `new_picture(stop)` that runs and draws.
    """

    def update(self) -> None:
        """Run again on a thread; a newer value overtakes."""
        self.worker.start(self.run)

    def run(self, stop: threading.Event) -> None:
        """One whole run at the controls' values, drawn when done."""
        self.progress.value, self.cancel.disabled = 0, False
        self.redraw(lambda: self.new_picture(stop))
        self.cancel.disabled = True


class StepsThroughRun:
    """What panels share that show one loop of a run: a thread, and a slider for the loop.

    They have `worker`, `result` and `loop`, a `write(on_loop)` that runs, and a `picture()`.
    """

    def update(self) -> None:
        """Run again on a thread; a newer value overtakes."""
        self.worker.start(self.run)

    def run(self, stop: threading.Event) -> None:
        """One whole run at the controls' values, then its loop drawn."""
        self.redraw(lambda: self.new_picture(stop))

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was overtaken."""
        run = self.write(lambda _record: not stop.is_set())
        if stop.is_set():
            raise StoppedError("")
        self.result = run
        self.loop.max = len(run.loops) - 1  # a slider beyond it moves back
        return self.picture()

    def step(self) -> None:
        """Show another loop of the same run: no model pass, and a message stays."""
        self.view.value = self.picture()
