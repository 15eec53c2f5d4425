"""The words of the course: in which lesson each is learned, where it is first used, and how.

Nothing here is typed by hand: a lesson ends with the line "Words learned", and what a word means
is the sentence in which the lesson first uses it, if possible one that sets it in bold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

from medusa_lib.base.course import Lesson

LEARNED = re.compile(r"\*\*Words learned:\*\* (.*?)\.?$", re.M)
UNREAD = re.compile(  # what is no running text: folded, code, headings, the frame of a lesson
    r"(?s:<details>.*?</details>|```.*?```)|`[^`\n]*`|^#.*$|^\*\*Next:\*\*.*$|^←.*$"
    r"|<[^>\n]*>|\*\*Words learned:\*\*.*|\]\([^)\n]*\)|^\|[-| :]+\|$",
    re.M,
)
SENTENCE = re.compile(r"(?<=[.!?])[*)\"]*\s+(?=[A-Z*`\"(δε])")
LEANS = re.compile(r"(It|Its|So|This|That|Such|They|Here|Then|These|Both|One such|We call)\b")
SHORT = 24  # letters: a sentence shorter than this says too little alone
FORMS = (  # of a word's first use, best first; {} is the word
    r"\*\*(?:An? |The )?(?P<word>{})[.:]?\*\*",
    r"\*\*(?:\w+ )?(?P<word>{})(?: \w+)?[.:]?\*\*",
    r"(?<!\*)\*(?P<word>{})\*(?!\*)",
    r"(?<![\w*-])(?P<word>{})(?![\w-])",
)


@dataclass(frozen=True)
class WordUse:
    """A word of a lesson and its first use there: letters start to end of markdown cell `cell`.

    meaning: the sentence that uses it, in Markdown. cell is None where the lesson uses it nowhere
    but in the line "Words learned", or only where no link can be.
    """

    term: str
    lesson: Lesson
    cell: int | None = None
    start: int = 0
    end: int = 0
    meaning: str = ""

    @property
    def anchor(self) -> str:
        """The id in the lesson's page that the glossary points to."""
        return "word-" + re.sub(r"\W+", "-", self.term.lower()).strip("-")


def words_learned(notebook: NotebookNode) -> list[str]:
    """The words that a lesson says it taught, in its order. [] for one that says nothing."""
    found = (LEARNED.search(cell.source) for cell in notebook.cells)
    return [word for line in found if line for word in line[1].split(", ")]


def running_text(source: str) -> str:
    """Markdown with all that is no running text as blanks, each letter at its place."""
    return UNREAD.sub(lambda part: re.sub(r"[^\n]", " ", part[0]), source)


def patterns(term: str) -> Iterator[re.Pattern[str]]:
    """What to look for, best first: the whole word in each form, then its first part in bold."""
    whole = re.sub(r" \(.*\)| [a-zα-ω]$", "", term)
    for part in dict.fromkeys((term, whole, whole.split(" ", maxsplit=1)[0])):
        forms = FORMS if part in (term, whole) else FORMS[:2]
        word = rf"{re.escape(part)}(?:s|es|ed|ly|ing|ying)?"
        yield from (re.compile(form.format(word), re.I) for form in forms)


def meaning_at(text: str, start: int, end: int) -> str:
    """The sentence around letters start to end; with the one before if it leans on that, and
    with the one after if it is a mere heading."""
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    line = text[first : len(text) if last < 0 else last]
    if line.startswith("|"):
        return plain_line(line)
    cuts = [0, *(cut.end() for cut in SENTENCE.finditer(line)), len(line)]
    at = max(i for i, cut in enumerate(cuts[:-1]) if cut <= start - first)
    begin = at - bool(at and LEANS.match(line[cuts[at] :].lstrip("*(")))
    stop = at + 1 + (cuts[at + 1] - cuts[begin] < SHORT and at + 2 < len(cuts))
    return plain_line(line[cuts[begin] : cuts[stop]])


def plain_line(line: str) -> str:
    """A line of Markdown that can stand elsewhere: no links, no tags, no list's or table's sign."""
    line = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"</?\w[^>]*>", "", line)
    line = re.sub(r"^\s*(?:[-+] |\d+\. )", "", line).strip()
    if line.startswith("|"):
        line = re.sub(r"\s*\|\s*", " · ", line.strip(" |"))
    return line[1:] if line.startswith("(") and ")" not in line else line


def first_use(lesson: Lesson, notebook: NotebookNode, term: str) -> WordUse:
    """Where and how a lesson first uses one of its words."""
    prose = {
        i: running_text(cell.source)
        for i, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
    }
    for pattern in patterns(term):
        for i, text in prose.items():
            if found := pattern.search(text):
                start, end = found.span("word")
                meaning = meaning_at(notebook.cells[i].source, start, end)
                return WordUse(term, lesson, i, start, end, meaning)
    return WordUse(term, lesson)


def uses_of(lesson: Lesson, notebook: NotebookNode) -> list[WordUse]:
    """The first use of each word that a lesson taught."""
    return [first_use(lesson, notebook, term) for term in words_learned(notebook)]


def link_words(notebook: NotebookNode, uses: list[WordUse]) -> None:
    """Link each word from its first use, and in the line "Words learned", to the glossary."""
    link_the_line(notebook, uses)
    for use in sorted(uses, key=lambda use: (-1 if use.cell is None else use.cell, -use.start)):
        if use.cell is not None:
            cell = notebook.cells[use.cell]
            word = term_link(cell.source[use.start : use.end], use)
            cell.source = cell.source[: use.start] + word + cell.source[use.end :]


def link_the_line(notebook: NotebookNode, uses: list[WordUse]) -> None:
    """The words of the line "Words learned" as links; those used nowhere else begin here."""
    links = [
        f"{{term}}`{use.term}`" if use.cell is not None else term_link(use.term, use)
        for use in uses
    ]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LEARNED.sub(
                lambda _: f"**Words learned:** {', '.join(links)}.", cell.source
            )


def term_link(shown: str, use: WordUse) -> str:
    """Markdown: a word linked to its entry, with the place that the entry links back to."""
    return f'<span id="{use.anchor}"></span>{{term}}`{shown} <{use.term}>`'
