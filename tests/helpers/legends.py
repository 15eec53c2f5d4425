"""Shared by several tests."""


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]
