"""Records a panel: moves its controls as a learner would and keeps what it shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from types import EllipsisType
from typing import Protocol

import ipywidgets as w

from medusa_lib.teaching.shared.record import (
    NONE_THERE,
    Frames,
    Record,
    RecordedControl,
    check_known,
    share_parts,
)

Grid = Mapping[str, Sequence[object] | EllipsisType]  # ...: every value the control has
KINDS = {w.Button: "button", w.Checkbox: "checkbox", w.Dropdown: "select", w.Text: "select"}


class Recordable(Protocol):
    """What a panel must offer to be recorded."""

    grid: Grid
    number: object
    recorded: bool
    says: str

    def value_of(self, name: str) -> object:
        """What a control is set to."""

    def turn(self, name: str, value: object) -> None:
        """Set a control, as a learner would."""

    def drawn(self) -> str:
        """The picture at the controls' values, once it is there."""


def kind_of(control: w.Widget) -> str:
    """How a page shows a control: "range", "select", "checkbox" or "button"."""
    return next((kind for one, kind in KINDS.items() if isinstance(control, one)), "range")


def every_value(control: w.Widget) -> list[object]:
    """All that a control can be set to now, in order; [] where that is without end."""
    if isinstance(control, w.Dropdown):
        return [one[1] if isinstance(one, tuple) else one for one in control.options]
    if isinstance(control, w.Checkbox):
        return [False, True]
    if isinstance(control, w.IntSlider):
        return list(range(control.min, control.max + 1, control.step))
    return []


def can_show(control: w.Widget, value: object) -> bool:
    """True if a control can show this very value."""
    if isinstance(control, w.Dropdown | w.Checkbox):
        return value in every_value(control)
    if isinstance(control, w.Text):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    if isinstance(control, w.Button):
        return True
    if isinstance(control, w.FloatLogSlider):
        value = math.log(value, control.base) if value > 0 else -math.inf
    steps = (value - control.min) / control.step
    inside = control.min - 1e-9 <= value <= control.max + 1e-9
    return inside and abs(steps - round(steps)) < 1e-6


def shown_value(control: w.Widget, value: object) -> str:
    """How a control shows a value."""
    if isinstance(control, w.Button):
        return f"seed {value}"
    if isinstance(control, w.Dropdown):
        labels = [one[0] if isinstance(one, tuple) else str(one) for one in control.options]
        return labels[every_value(control).index(value)]
    if isinstance(control, w.Checkbox):
        return "on" if value else "off"
    if isinstance(value, str):
        return value.replace(" ", "\xa0")  # a page would show two spaces as one
    return format(value, control.readout_format)


def values_for(name: str, control: w.Widget, now: object, given: object) -> list[object] | None:
    """The values of a grid in order, the one now among them; None: a slider's, as they will be.

    Raises ValueError for none, for what is no sequence and for what the control cannot show.
    """
    if given is ...:
        if not every_value(control):
            raise ValueError(f"grid[{name!r}] must list its values, got ...")
        return None if kind_of(control) == "range" else every_value(control)
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ValueError(f"grid[{name!r}] must be a sequence of values, got {given!r}")
    for value in given:
        if not can_show(control, value):
            raise ValueError(f"grid[{name!r}] must have values of that control, got {value!r}")
    values, order = list(dict.fromkeys((now, *given))), every_value(control)
    if kind_of(control) == "range":
        return sorted(values)
    return [value for value in order if value in values] if order else values


class Recording:
    """One panel as it is recorded."""

    def __init__(self, panel: Recordable, grid: Grid, name: str) -> None:
        check_known(grid, list(panel.grid))
        if not grid:
            raise ValueError(f"grid of {type(panel).__name__} must have at least one control")
        self.panel, self.name, self.frames = panel, name, Frames()
        self.controls = {one: getattr(panel, one) for one in panel.grid if one in grid}
        self.starts = {one: panel.value_of(one) for one in self.controls}
        self.values = {
            one: values_for(one, control, self.starts[one], grid[one])
            for one, control in self.controls.items()
        }
        self.seen: dict[tuple[object, ...], int] = {}

    def run(self) -> Record:
        """Every combination in turn; afterwards the panel is as it was."""
        number, self.panel.number = self.panel.number, self.name
        self.panel.recorded = True
        try:
            self.panel.update()
            self.panel.drawn()  # a run may move its own sliders
            self.starts = {one: self.panel.value_of(one) for one in self.controls}
            self.walk(list(self.controls), ())
        finally:
            self.panel.number, self.panel.recorded = number, False
            for name, value in self.starts.items():
                self.panel.turn(name, value)
                self.panel.drawn()
            self.panel.update()
            self.panel.drawn()
        return self.record()

    def walk(self, left: list[str], at: tuple[object, ...]) -> None:
        """Keep the frames of all combinations of the controls that are left."""
        if not left:
            self.seen[at] = self.frames.keep(self.panel.drawn())
            return
        name, *rest = left
        if self.values[name] is None:
            self.panel.drawn()  # a run may move that slider's end
        for value in self.values[name] or every_value(self.controls[name]):
            self.panel.turn(name, value)
            self.walk(rest, (*at, value))

    def record(self) -> Record:
        """What was seen, as plain data."""
        controls = [self.recorded(i, name) for i, name in enumerate(self.controls)]
        places = itertools.product(*(control.values for control in controls))
        frames, parts = share_parts(list(self.frames.numbers), list(self.frames.parts))
        return Record(
            name=self.name,
            panel=type(self.panel).__name__,
            says=self.panel.says,
            controls=tuple(controls),
            table=tuple(self.seen.get(at, NONE_THERE) for at in places),
            frames=frames,
            parts=parts,
        )

    def recorded(self, i: int, name: str) -> RecordedControl:
        """A control with all values that it had."""
        control = self.controls[name]
        values = tuple(self.values[name] or dict.fromkeys(sorted({at[i] for at in self.seen})))
        return RecordedControl(
            name=name,
            label=control.description,
            kind=kind_of(control),
            values=values,
            texts=tuple(shown_value(control, value) for value in values),
            start=values.index(self.starts[name]),
        )
