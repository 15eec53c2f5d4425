"""From Project Gutenberg files to clean tales: what the shipped model reads in training.

A *tale* is the prose between two headings (a chapter of a novel, a story of a collection),
one line per paragraph. Training joins tales with the EOS token, so the model learns where
a tale ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Two whole books that training never sees; the card reports the loss on them.
HELD_OUT = (11, 289)
_HEADER_END = re.compile(
    r"^(?:\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG.*|\*END.*SMALL PRINT!.*)$", re.M
)
_FOOTER_START = re.compile(
    r"^(?:\*\*\* ?END OF TH(?:IS|E) PROJECT GUTENBERG"
    r"|\*?(?:End of )?(?:the )?Project Gutenberg(?:['’]s| E(?:Book|text)))",
    re.M | re.I,
)
_BRACKETED = re.compile(
    r"\[(?:Illustration|Footnote|Picture|Transcriber|Editor|Note|_|\d|[*†‡]|From )[^\]]*\]?",
    re.I,
)
_NOTE_MARK = re.compile(r"\[\d+\]|\{\d+\}|\(\d+\)|<\d+>")
_CREDITS = re.compile(
    r"^(?:produced by|transcribed (?:from|by)|e-?text prepared|this etext|scanned by|html version"
    r"|online distributed|illustrated by|translated (?:by|from)|edited by|with .*illustrations"
    r"|copyright|printed in|all rights reserved|adapted (?:from|by)|from the french)",
    re.I,
)
_CHAPTER = re.compile(
    r"^(?:chapter|chap\.|book|part|stave|act|scene|volume|letter|the end\b|finis\b)"
    r"(?:\s+(?:the\s+)?[ivxlc\d]+|\s+\w+)?[.:]?",
    re.I,
)
_APPENDIX = re.compile(r"^(?:NOTES AND REFERENCES|TRANSCRIBER'S NOTES?|INDEX|APPENDIX)\b")
_SOURCE = re.compile(r"^[\[(][^\])]*[\])]\.?$")
_TITLE = re.compile(r"^Title: *(.+?)(?:, Complete)? *$", re.M)
_TITLE_IN_FIRST_LINE = re.compile(
    r"Project Gutenberg(?:['’]s| E(?:book|text)(?: of|,)) (.+?)(?:,? by\b.*|[*., ]*)$", re.M | re.I
)
_NUMBERED = re.compile(r"^(?:[IVXLC]+|\d+)[.:)]?(?:\s+\S.*)?$")
_TERMINAL = tuple(".!?,;:'\"-)")
_QUOTES_AND_DASHES = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‛": "'",
        "`": "'",
        "´": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "—": "--",
        "–": "-",
        "‐": "-",
        "−": "-",
        "…": "...",
        "\ufeff": "",
        "\u00a0": " ",
        "\t": " ",
        "_": "",
        "~": "",
        "|": "",
        "\\": "",
    }
)


@dataclass(frozen=True)
class Book:
    """One cleaned book: its ebook number, its title and its tales, in order."""

    number: int
    title: str
    tales: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """True if training must not see this book."""
        return self.number in HELD_OUT


def strip_licence(text: str) -> str:
    """Cut the Project Gutenberg header and footer, in any of their forms.

    Raises ValueError where no header ends, since a licence would then be learned as prose.
    """
    headers = list(_HEADER_END.finditer(text))
    if not headers:
        raise ValueError("no Project Gutenberg header found")
    body = text[headers[-1].end() if "SMALL PRINT" in headers[-1][0] else headers[0].end() :]
    footer = _FOOTER_START.search(body, len(body) // 2)
    return body[: footer.start()] if footer else body


def find_title(text: str) -> str:
    """The title that a Project Gutenberg header names, on one line; "untitled" if it names none."""
    header = text[:2000]
    found = _TITLE.search(header) or _TITLE_IN_FIRST_LINE.search(header)
    return found[1].translate(_QUOTES_AND_DASHES).strip() if found else "untitled"


def normalise(text: str) -> str:
    """Straight quotes, `--` for dashes, no italics or note marks, no `[Illustration …]`."""
    text = _BRACKETED.sub("", text)
    text = text.translate(_QUOTES_AND_DASHES)
    text = text.replace("''", '"').replace("----", "--").replace("---", "--")
    return _NOTE_MARK.sub("", text)


def _is_heading(lines: list[str], blank_before: int, after_heading: bool) -> bool:
    joined = " ".join(lines)
    letters = [c for c in joined if c.isalpha()]
    if not letters:
        return True  # a row of stars or a lone page number
    upper = sum(c.isupper() for c in letters) / len(letters)
    if upper > 0.75 and len(joined) < 200:
        return True
    if _CHAPTER.match(joined) and len(joined) < 90 and not joined.endswith(("?", "!", "'", '"')):
        return True
    if _NUMBERED.match(joined) and len(joined) < 70:
        return True
    if len(lines) == 1 and len(joined) < 60 and not joined.endswith(_TERMINAL):
        return blank_before >= 2 or after_heading
    return len(lines) == 1 and len(joined) < 45 and blank_before >= 3


def _is_contents(lines: list[str]) -> bool:
    """Tables of contents and lists of plates: short lines that end in no punctuation."""
    if len(lines) < 3:
        return False
    entry = [
        len(line) < 64 and (bool(re.search(r"\d\s*$", line)) or not line.endswith(_TERMINAL))
        for line in lines
    ]
    starts = [bool(_NUMBERED.match(line) or _CHAPTER.match(line)) for line in lines]
    numbered = sum(starts) / len(lines) > 0.5
    return numbered or (sum(entry) / len(lines) > 0.85 and len(lines) > 5)


def _is_prose(tale: str) -> bool:
    """False for lists, advertisements and scholarly notes: many figures, few finished sentences."""
    paragraphs = tale.split("\n")
    finished = sum(p.endswith(_TERMINAL) for p in paragraphs) / len(paragraphs)
    figures = sum(c.isdigit() or c in "[]()=$&" for c in tale) / len(tale)
    return finished > 0.6 and figures < 0.006


def split_tales(text: str, min_chars: int = 400) -> tuple[str, ...]:
    """Clean body text → its tales, one paragraph a line; shorter ones are title pages, dropped."""
    tales: list[list[str]] = [[]]
    text = re.sub(r"[ \r]+\n", "\n", text)
    for found in re.finditer(r"(\n*)((?:[^\n]+\n?)+)", text):
        gap, block = found.groups()
        raw = block.rstrip("\n").split("\n")
        lines = [re.sub(r" +", " ", line).strip() for line in raw]
        lines = [line for line in lines if line]
        if not lines or _CREDITS.match(lines[0]) or _SOURCE.match(" ".join(lines)):
            continue
        # The block before took its own line end, so n newlines here are n blank lines.
        # In the first half this line is an entry of the table of contents.
        if _APPENDIX.match(" ".join(lines)) and found.start() > len(text) // 2:
            break
        if _is_heading(lines, len(gap), not tales[-1]) or _is_contents(lines):
            tales.append([])
            continue
        # Indented short lines are verse: its line ends are part of it.
        verse = all(line.startswith("  ") for line in raw) and len(raw) > 1
        tales[-1].append(("\n" if verse else " ").join(lines))
    joined = ("\n".join(tale) for tale in tales)
    return tuple(tale for tale in joined if len(tale) >= min_chars and _is_prose(tale))


def read_book(path: Path) -> Book:
    """Read and clean one `pgN.txt`. Raises ValueError naming a file that has no tale."""
    try:
        text = path.read_text(encoding="utf-8")
        tales = split_tales(normalise(strip_licence(text)))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    if not tales:
        raise ValueError(f"{path.name}: no prose found")
    return Book(int(path.stem[2:]), find_title(text), tales)


def read_corpus(folder: Path) -> list[Book]:
    """Every `pgN.txt` in `folder`, cleaned, by ebook number.

    Raises ValueError if there is none, or naming a file that cannot be cleaned.
    """
    paths = [path for path in folder.glob("pg*.txt") if path.stem[2:].isdecimal()]
    if not paths:
        raise ValueError(f"corpus must be a folder with pgN.txt files, got {str(folder)!r}")
    return sorted((read_book(path) for path in paths), key=lambda book: book.number)
