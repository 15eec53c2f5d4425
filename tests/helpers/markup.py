"""Shared by several tests."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements and the text that a browser would make of some HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.found = [], "", []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, name, value=None):
        """The attributes of each element that has this one."""
        return [a for _, a in self.found if name in a and value in (None, a[name])]


def harmless(source, tags="div b span sup br small table tr th td"):
    """Parse; fail at any element that ours never make, and at any handler of events."""
    page = Page(source)
    assert set(page.tags) <= set(tags.split())
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]
    return page
