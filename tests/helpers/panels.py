"""Shared by several tests."""

import html
import re
from html.parser import HTMLParser

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
