"""Shared by several tests."""

from __future__ import annotations

import html
import importlib
import inspect
import pkgutil
import re
from html.parser import HTMLParser

from medusa_lib import teaching
from medusa_lib.teaching.shared.panel import Panel

PROMPT = "Once upon a time there was a"


EVIL = "<script>alert(1)</script> <img src=x onerror='alert(2)'> & \"b\""


class Reader(HTMLParser):
    """The tags, attributes and text of some HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def says(panel):
    """The line of figures that a panel's view holds."""
    return html.unescape(re.search(r'<p class="says">(.*?)</p>', panel.view.value)[1])


def settle(panel):
    assert panel.worker.wait(60)


def alert(panel):
    """The panel's error message, or "" if there is none."""
    found = re.search(r'role="alert"[^>]*>(.*?)</div>', panel.message.value)
    return html.unescape(found[1]) if found else ""


def status(panel):
    found = re.search(r'role="status"[^>]*>(.*?)</div>', panel.message.value)
    return html.unescape(found[1]) if found else ""


def move(panel, **values):
    """Set controls to values; wait where the panel works on a thread."""
    for name, value in values.items():
        getattr(panel, name).value = value
    if hasattr(panel, "worker"):
        settle(panel)


def shown_panels() -> list[type[Panel]]:
    """The panels of all lessons."""
    found = []
    for room in pkgutil.iter_modules(teaching.__path__):
        module = importlib.import_module(f"medusa_lib.teaching.{room.name}")
        own = [each for each in vars(module).values() if inspect.isclass(each)]
        found += [e for e in own if issubclass(e, Panel) and e.__module__ == module.__name__]
    return found


def needed(kind: type[Panel]) -> list[str]:
    """The parameters of a panel that have no default."""
    parameters = inspect.signature(kind).parameters.values()
    return [each.name for each in parameters if each.default is each.empty]
