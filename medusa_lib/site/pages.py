"""The pages that are no lesson: landing, bench, glossary, source; and what all share."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from medusa_lib.base.course import BEYOND, LESSONS, STEPS
from medusa_lib.site.lessons import page_of, short_title, source_page
from medusa_lib.site.race import PROMPT, Lane
from medusa_lib.site.readme import bench_block, fastest_own, read_figure, speeds
from medusa_lib.site.words import WordUse

TEMPLATES = Environment(
    loader=PackageLoader("medusa_lib.site"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PARTS = (("The steps", STEPS), ("Beyond", BEYOND))
SHOWN = {  # rows of the bench on the landing page: name in the README → name for a newcomer
    "Medusa-tiny": "Medusa-tiny, the steps' own loop",
    "transformers generate": "transformers' generate",
    "greedy, cached": "the course's greedy with a cache",
    "llama.cpp float16": "llama.cpp, half precision, greedy",
}


def toctree(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """A part of the contents. rows: title, page."""
    lines = "\n".join(f"{title} <{page}>" for title, page in rows)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def contents() -> str:
    """The order of all pages: left on every page, and what previous and next follow."""
    trees = [
        toctree(name, ((short_title(lesson), page_of(lesson)) for lesson in lessons))
        for name, lessons in PARTS
    ]
    more = (("How fast", "bench"), ("Glossary", "glossary"), ("Source code", "source/index"))
    return "\n".join([*trees, toctree("Look things up", more)])


def bars(readme: str) -> list[tuple[str, str, float]]:
    """The landing page's figures: name, tokens per second as printed, share of the greatest."""
    found = speeds(bench_block(readme))
    best = fastest_own(found)
    shown = {**SHOWN, best: f"the course's cure: {best}"}
    most = max(read_figure(found[row]) for row in shown)
    rows = [(name, found[row], read_figure(found[row]) / most) for row, name in shown.items()]
    return sorted(rows, key=lambda row: row[2])


def landing(readme: str, race: Sequence[Lane], minutes: Mapping[str, str]) -> str:
    """The first page. minutes: lesson's name → what it says that it takes."""
    lessons = [
        (name, [(lesson, page_of(lesson), minutes[lesson.name]) for lesson in part])
        for name, part in PARTS
    ]
    page = TEMPLATES.get_template("landing.html").render(
        count=len(LESSONS),
        prompt=PROMPT,
        race=race,
        most=max(lane.passes for lane in race),
        bars=bars(readme),
        machine=bench_block(readme).split("\n\n")[0],
        parts=lessons,
        begin=page_of(LESSONS[0]),
        last=page_of(STEPS[-1]),
    )
    page = re.sub(r"\n\s*\n", "\n", page)  # a blank line would end the block
    return f"# Medusa, step by step\n\n```{{raw}} html\n{page}\n```\n\n{contents()}"


def bench_page(readme: str) -> str:
    """The README's tables of the bench, as they are."""
    tables = re.sub(r"^\*\*(.+)\*\*$", r"## \1", bench_block(readme), flags=re.M)
    return f"# How fast\n\n{tables}\n"


def entry(term: str, uses: Iterable[WordUse]) -> str:
    """A word of the glossary: for each lesson that taught it, what it means, and the way back."""
    said = []
    for use in uses:
        link = f'<a href="{page_of(use.lesson)}.html#{use.anchor}">{short_title(use.lesson)}</a>'
        said.append(f"  {use.meaning} {link}" if use.meaning else f"  See {link}")
    return "\n".join([term, "\n\n".join(said).lstrip("\n"), ""])


def glossary(uses: Iterable[WordUse]) -> str:
    """All words learned, by the alphabet."""
    by_term: dict[str, list[WordUse]] = {}
    for use in uses:
        by_term.setdefault(use.term, []).append(use)
    terms = sorted(by_term, key=lambda term: (initial(term), term.lower()))
    parts = ["# Glossary\n\nEach word as the lesson that teaches it first says it.\n"]
    for letter, some in groupby(terms, key=initial):
        entries = "\n".join(entry(term, by_term[term]) for term in some)
        parts.append(f"## {letter}\n\n````{{glossary}}\n{entries}````\n")
    return "\n".join(parts)


def initial(term: str) -> str:
    """The letter that a word stands under; Greek ones under their names' first."""
    return {"γ": "G"}.get(term[0], term[0].upper())


def source_pages(package: Path, files: Iterable[str]) -> dict[str, str]:
    """Page → Markdown: each file of the package that a lesson names, and their list."""
    pages, rows = {}, []
    for file in sorted(files):
        code = (package / file).read_text(encoding="utf-8").rstrip()
        back = "[All files that the lessons name](index.md)"
        head = f"---\norphan: true\n---\n# `{file}`\n\n{back}\n\n"
        pages[source_page(file)] = f"{head}````````python\n{code}\n````````\n"
        does = docstring_line(code)
        rows.append(f"- [`{file}`]({os.path.basename(source_page(file))}.md): {does}")
    head = "# Source code\n\nThe files of `medusa_lib` that the lessons name.\n\n"
    pages["source/index"] = head + "\n".join(rows) + "\n"
    return pages


def docstring_line(code: str) -> str:
    """What a file says of itself in the first line of its docstring."""
    return (ast.get_docstring(ast.parse(code)) or "no docstring").splitlines()[0]
