"""A recorded panel: its pictures at a grid of values as plain data, and as a piece of a page.

Nothing in it is computed when it is shown: a control picks one of the pictures that the panel
drew at exactly the values that the page names.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from markupsafe import Markup

from medusa_lib.teaching.shared.html import TEMPLATES

NONE_THERE = -1  # in a record's table: the last control has no such value at these settings
ASSETS = files("medusa_lib.teaching.shared") / "templates"
# A picture is cut into parts that pictures share: behind a line's end, or behind such a tag.
_CUT = re.compile(r"(?<=\n)|(?<=</tr>)|(?<=</li>)|(?<=</p>)|(?<=</span>)|(?<=</svg>)")


@dataclass(frozen=True)
class RecordedControl:
    """One control of a recorded panel.

    name: the panel's attribute. kind: "range", "select", "checkbox" or "button". values: what
    it was set to, in order; texts: how each is shown. start: the place of the starting value.
    """

    name: str
    label: str
    kind: str
    values: tuple[object, ...]
    texts: tuple[str, ...]
    start: int


@dataclass(frozen=True)
class Record:
    """What a panel showed at every combination of its controls' values.

    name: begins the ids within, so it must be a page's only one. panel: its class. says: its
    sentence. table: for each combination, the last control moving fastest, the number of a frame
    or NONE_THERE. frames: for each its parts, by number. parts: pieces of HTML. No two frames are
    the same, and no two parts.
    """

    name: str
    panel: str
    says: str
    controls: tuple[RecordedControl, ...]
    table: tuple[int, ...]
    frames: tuple[tuple[int, ...], ...]
    parts: tuple[str, ...]

    def html(self, frame: int) -> str:
        """A frame as the panel drew it. frame: its number."""
        return "".join(self.parts[part] for part in self.frames[frame])

    def at(self, **values: object) -> str:
        """The frame at these values, each control that is not named at its start.

        Raises ValueError for a control or a value that was not recorded.
        """
        check_known(values, [control.name for control in self.controls])
        place = 0
        for control in self.controls:
            value = values.get(control.name, control.values[control.start])
            if value not in control.values:
                raise ValueError(f"{control.name} must be among {control.values}, got {value!r}")
            place = place * len(control.values) + control.values.index(value)
        if self.table[place] == NONE_THERE:
            raise ValueError(f"values must have been recorded, got {values!r}")
        return self.html(self.table[place])


def check_known(given: Iterable[str], known: Sequence[str]) -> None:
    """Raises ValueError for a name that is not among the known ones."""
    for name in given:
        if name not in known:
            raise ValueError(f"grid must have names among {', '.join(known)}, got {name!r}")


@dataclass
class Frames:
    """Frames as they come, each kept once, cut into parts that are kept once."""

    numbers: dict[tuple[int, ...], int] = field(default_factory=dict)  # a frame → its number
    parts: dict[str, int] = field(default_factory=dict)  # a part → its number

    def keep(self, html: str) -> int:
        """A picture's number: a new one, or that of the same picture before."""
        parts = [part for part in _CUT.split(html) if part]
        frame = tuple(self.parts.setdefault(part, len(self.parts)) for part in parts)
        return self.numbers.setdefault(frame, len(self.numbers))


def share_parts(
    frames: Sequence[Sequence[int]], parts: Sequence[str]
) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """Frames and parts, where parts that always stand one behind the other are one part."""
    after: dict[int, set[int]] = {}
    before: dict[int, set[int]] = {}
    for frame in frames:
        for one, two in itertools.pairwise((-1, *frame, -1)):
            after.setdefault(one, set()).add(two)
            before.setdefault(two, set()).add(one)
    heads, numbers, texts = {}, {}, []
    for frame in frames:
        for one, two in itertools.pairwise((-1, *frame)):
            if two in numbers:
                continue
            follows = one >= 0 and after[one] == {two} and before[two] == {one}
            numbers[two] = numbers[one] if follows else len(texts)
            if follows:
                texts[numbers[one]].append(parts[two])
            else:
                heads[two] = len(texts)
                texts.append([parts[two]])
    kept = tuple(tuple(heads[part] for part in frame if part in heads) for frame in frames)
    return kept, tuple("".join(text) for text in texts)


def recorded_html(record: Record) -> str:
    """A record as one piece of HTML: native controls, its pictures, the script that picks one.

    It asks nothing of any host, and shows the first picture where no script may run. Several may
    stand on one page.
    """
    data = {
        "counts": [len(control.texts) for control in record.controls],
        "texts": [control.texts for control in record.controls],
        **{name: getattr(record, name) for name in ("table", "frames", "parts")},
    }
    place = 0
    for control in record.controls:
        place = place * len(control.values) + control.start
    given = {
        "record": record,
        "first": Markup(record.html(record.table[place])),
        "data": Markup(script_json(data)),
        "style": Markup((ASSETS / "recorded.css").read_text(encoding="utf-8")),
        "script": Markup((ASSETS / "recorded.js").read_text(encoding="utf-8")),
    }
    return TEMPLATES.get_template("recorded.html").render(given)


def script_json(data: Mapping[str, object]) -> str:
    """Plain data as JSON that may stand within a script element: it cannot close one."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("</", r"<\/").replace("<!--", r"\u003c!--").replace("<script", r"\u003cscript")
    )
