"""What every panel is: controls → a pure function of the library → one HTML.

Callbacks draw and never print. A bad value shows a message beside the controls. Work of more
than a moment runs on a thread: it reports progress, can be cancelled, and is overtaken by a
newer setting.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import ipywidgets as w
from IPython.display import display
from markupsafe import Markup
from matplotlib.axes import Axes

from medusa_lib.base.records import Generation
from medusa_lib.engine.twin import get_ready
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM
from medusa_lib.teaching.shared.controls import (
    NAME_SLIDERS,
    again_button,
    cancel_button,
    knob_sliders,
    observe,
    progress_bar,
    slider,
)
from medusa_lib.teaching.shared.html import figure_html, pictures_apart, render
from medusa_lib.teaching.shared.record import Record
from medusa_lib.teaching.shared.recording import Grid, Recording
from medusa_lib.teaching.shared.worker import StoppedError, Worker, threads_beside


class Panel(w.VBox):
    """Controls above one picture, with a line for messages and a fixed text form.

    The text form is what a reader without widgets sees, and what a notebook's test compares.
    """

    numbers = itertools.count(1)
    grid: Grid = {}  # what is recorded unless something else is asked for; {}: nothing can be

    def __init__(self, controls: list[w.Widget], height: str = "auto") -> None:
        self.number, self.says = next(Panel.numbers), ""
        self.recorded = False  # True while it is: then it shows no seconds, which no two runs share
        self.view = w.HTML(layout=w.Layout(min_height=height))
        self.message = w.HTML(layout=w.Layout(min_height="30px"))  # so that nothing jumps
        names = w.HTML(NAME_SLIDERS, layout=w.Layout(display="none"))
        super().__init__([*controls, self.message, self.view, names])
        self.view.add_class("medusa-view")
        self.add_class("medusa-panel").add_class(type(self).__name__)

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": self.says}

    def _ipython_display_(self) -> None:
        """The panel, and after it what stands in its place once its kernel is gone."""
        display(self._repr_mimebundle_(), raw=True)
        display({"text/html": self.instead()}, raw=True)

    def instead(self) -> str:
        """The picture of now and how to have the controls, seen where the panel is not."""
        view = self.view.value.replace(f"panel{self.number}", "panel")  # the same in each run
        shown = Markup(pictures_apart(view))
        return render("instead", type(self).__name__, self.says, shown)

    def redraw(self, draw: Callable[[], str]) -> None:
        """Show what `draw()` returns, or the message of the error it raises."""
        try:
            self.view.value = draw()
            self.message.value = ""
        except StoppedError as stopped:
            self.tell(str(stopped))
        except Exception as error:  # a callback that raises shows nothing at all
            self.complain(str(error) or type(error).__name__)

    def record(self, grid: Grid | None = None, name: str = "recorded") -> Record:
        """What this panel shows at all combinations of some values of its controls.

        grid: control → its values, or ... for all; None: the panel's own. The values that the
        controls have now are always among them. name: begins the ids within, one for a page.
        Raises ValueError for an unknown control, and for values that it cannot show.
        """
        return Recording(self, self.grid if grid is None else grid, name).run()

    def value_of(self, name: str) -> object:
        """What a control is set to."""
        return getattr(self, name).value

    def turn(self, name: str, value: object) -> None:
        """Set a control, as a learner would."""
        getattr(self, name).value = value

    def drawn(self) -> str:
        """The picture at the controls' values. Raises ValueError if there is a message instead."""
        if 'role="alert"' in self.message.value:
            raise ValueError(f"controls must have values that can be drawn: {self.message.value}")
        return self.view.value

    def complain(self, text: str) -> None:
        """Show an error message beside the controls."""
        self.message.value = render("message", text, "alert", "#A30000")

    def tell(self, text: str) -> None:
        """Show a message that is no error beside the controls; "" clears it."""
        self.message.value = render("message", text, "status", "#0072B2") if text else ""

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


class DraftPanel(Panel):
    """Sliders for temperature, top-p and span over drafts of a prompt, and "Draft again".

    A subclass draws at the sliders' values in `picture()`; `seeds` is how many it draws with.
    """

    seeds = 1

    def __init__(self, lm: LM, prompt: str, seed: int | None, height: str) -> None:
        self.lm, self.ids = lm, start_ids(lm, prompt)
        fresh = make_generator(None).initial_seed() >> 2  # below 2**62: it is counted up
        self.seed = fresh if seed is None else seed
        self.temperature, self.top_p, self.span = sliders = knob_sliders()
        self.again = again_button()
        super().__init__([*sliders, self.again], height)
        observe(self.update, *sliders)
        self.again.on_click(self.next_seed)
        self.update()

    @property
    def knobs(self) -> tuple[int, float, float]:
        """Span, temperature and top-p at the sliders' values."""
        return self.span.value, self.temperature.value, self.top_p.value

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    @property
    def grid(self) -> Grid:
        """Cold, usual and hot draws, a small and the usual nucleus, short and long, some seeds."""
        seeds = [self.seed + i * self.seeds for i in range(2 if self.seeds > 1 else 3)]
        return {
            "temperature": (0.0, 0.9, 1.5),
            "top_p": (0.5, 0.95),
            "span": (1, 3, 5),
            "again": seeds,
        }

    def value_of(self, name: str) -> object:
        """What a control is set to; of "Draft again" the seed."""
        return self.seed if name == "again" else super().value_of(name)

    def turn(self, name: str, value: object) -> None:
        """Set a control; "Draft again" to a seed."""
        if name != "again":
            super().turn(name, value)
            return
        self.seed = value
        self.update()

    def next_seed(self, _button: object = None) -> None:
        """Draft again from the next seeds."""
        self.seed += self.seeds
        self.update()


class RunPanel(Panel):
    """A panel with a run of some seconds, on a thread: a newer value overtakes it.

    A subclass runs and draws in `new_picture(stop)`, which asks `check` on the way. Below its
    controls stand `go`, a progress bar and Cancel; unit: what the bar counts, up to `most`.
    """

    again = "move a slider to run again"  # what to do after Cancel

    def __init__(
        self, controls: list[w.Widget], height: str, lm: LM, most: int = 1, unit: str = "tokens"
    ) -> None:
        self.lm, self.worker = lm, Worker(threads_beside(lm))
        self.progress, self.cancel = progress_bar(unit, most), cancel_button()
        super().__init__([*controls, *self.buttons()], height)
        self.cancel.on_click(lambda _button: self.worker.cancel())

    def buttons(self) -> list[w.Widget]:
        """The row below the controls."""
        return [w.HBox([self.progress, self.cancel])]

    def update(self) -> None:
        """Run again on a thread; a newer value overtakes."""
        self.worker.start(self.run)

    def run(self, stop: threading.Event) -> None:
        """One whole run at the controls' values, drawn when done."""
        self.progress.value, self.cancel.disabled = 0, False
        get_ready(self.lm, self.tell)
        self.redraw(lambda: self.new_picture(stop))
        self.cancel.disabled = True

    def drawn(self) -> str:
        """The picture at the controls' values, when the run is done."""
        self.worker.wait(600)
        return super().drawn()

    def check(self, stop: threading.Event, said: str) -> None:
        """Raises StoppedError if the run is to end; one that was overtaken says nothing."""
        if stop.is_set():
            overtaken = self.worker.overtaken(stop)
            raise StoppedError("" if overtaken else f"{said}; {self.again}")


class StepPanel(RunPanel):
    """A panel that shows one loop of a finished run: its last control is a slider for the loop.

    A subclass runs in `write(on_loop)`, tells a loop in `view_of(number)`, draws in `picture()`.
    loop: the one to begin with; None: the first that accepted the most drafts.
    """

    def __init__(
        self, controls: list[w.Widget], height: str, lm: LM, loop: int | None = None
    ) -> None:
        self.loop = slider("loop", 0, 0, 0)
        super().__init__([*controls, self.loop], height, lm)
        observe(self.update, *controls)
        observe(self.step, self.loop)
        self.run(threading.Event())
        self.loop.value = most_accepted(self.result) if loop is None else loop

    def buttons(self) -> list[w.Widget]:
        """None: these runs are too short to be cancelled."""
        return []

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was overtaken."""
        run = self.write(lambda _record: not stop.is_set())
        if stop.is_set():
            raise StoppedError("")
        self.result = run
        self.loop.max = len(run.loops) - 1  # a slider beyond it moves back
        return self.picture()

    def current(self) -> object:
        """The loop at the slider's value, counted from 0."""
        return self.view_of(self.lm, self.result, min(self.loop.value, len(self.result.loops) - 1))

    def step(self) -> None:
        """Show another loop of the same run: no model pass, and a message stays."""
        self.view.value = self.picture()


def most_accepted(run: Generation) -> int:
    """The number, from 0, of the first loop that accepted the most drafts."""
    return max(range(len(run.loops)), key=lambda i: run.loops[i].accepted)
