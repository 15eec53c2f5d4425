"""From a stored notebook to its page: a copy with links, words for pictures, and no widgets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from medusa_lib.base.course import LESSONS, Lesson
from medusa_lib.site.pictures import describe_pictures
from medusa_lib.site.words import WordUse, link_words, uses_of
from medusa_lib.teaching.shared.cells import WIDGET, put_panels, stands_in

PATH = re.compile(r"(?<!\[)`((?:medusa_lib/)?(?:[\w.]+/)*\w+\.py)`")
TO_RUN = "Run this cell to move the sliders."  # what no reader of a page can do
ELSEWHERE = "In a running notebook its controls move."
FENCED = re.compile(r"(```.*?```|<details>.*?</details>)", re.S)


def short_title(lesson: Lesson) -> str:
    """Such as "STEP5 prefix accept"."""
    return f"{lesson.name} {lesson.word.replace('_', ' ').replace('medusa', 'Medusa')}"


def page_of(lesson: Lesson) -> str:
    """A lesson's page without its ending, from the site's root on."""
    return lesson.notebook.removesuffix(".ipynb")


def read_lessons(project: Path) -> dict[Lesson, NotebookNode]:
    """All stored notebooks. Raises ValueError where one is missing."""
    paths = {lesson: project / "notebooks" / lesson.notebook for lesson in LESSONS}
    for path in paths.values():
        if not path.is_file():
            raise ValueError(f"--project must be a checkout of the course, got none: no {path}")
    return {lesson: nbformat.read(path, as_version=4) for lesson, path in paths.items()}


def file_meant(name: str, folder: str, package: Path) -> str | None:
    """The file of the package that a lesson calls by a short name, from `medusa_lib/` on.

    folder: where the lesson's own code is. None for no file of ours, or one meant by none.
    """
    bare = name.removeprefix("medusa_lib/")
    for candidate in (bare, f"{folder}/{bare}"):
        if (package / candidate).is_file():
            return candidate
    return None


def link_files(text: str, lesson: Lesson, package: Path) -> tuple[str, set[str]]:
    """Markdown with the files of the package that it names as links, and those files.

    The links are HTML, since nothing resolves those of a stored output.
    """
    named: set[str] = set()
    folder = str(Path(lesson.file).parent).removeprefix("medusa_lib").strip("/")
    up = os.path.relpath(".", Path(lesson.notebook).parent)

    def link(found: re.Match[str]) -> str:
        file = file_meant(found[1], folder, package)
        if file is None:
            return found[0]
        named.add(file)
        return f'<a href="{up}/{source_page(file)}.html"><code>{found[1]}</code></a>'

    parts = FENCED.split(text)
    parts[::2] = [PATH.sub(link, part) for part in parts[::2]]
    return "".join(parts), named


def source_page(file: str) -> str:
    """The page that shows a file of the package, without its ending."""
    return "source/" + file.removesuffix(".py").replace("/", "-")


def still_panel(data: NotebookNode) -> NotebookNode:
    """A panel's sentence in place of the widget, which no page without Python can show."""
    said = escape(str(data.get("text/plain", "")))
    shown = f'<div class="still-panel"><p>{said}</p></div>'
    return NotebookNode({"text/html": shown, "text/plain": data.get("text/plain", "")})


def show_panels(notebook: NotebookNode, recorded: Mapping[str, str]) -> None:
    """Panels as recordings, whose controls move; where there is none, sentence and picture."""
    put_panels(notebook, recorded)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data = still_panel(output.data)
            elif stands_in(output):
                output.data["text/html"] = output.data["text/html"].replace(TO_RUN, ELSEWHERE)


def link_all_files(lesson: Lesson, notebook: NotebookNode, package: Path) -> set[str]:
    """Link the files that prose and listings name → those files."""
    named: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source, more = link_files(cell.source, lesson, package)
            named |= more
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data:
                data["text/markdown"], more = link_files(data["text/markdown"], lesson, package)
                named |= more
    return named


def make_page(
    lesson: Lesson, notebook: NotebookNode, package: Path, recorded: Mapping[str, str]
) -> tuple[list[WordUse], set[str]]:
    """Turn a notebook, in place, into its page → its words, and the files that it names.

    recorded: cell's id → its panel as HTML.
    """
    show_panels(notebook, recorded)
    uses = uses_of(lesson, notebook)
    link_words(notebook, uses)
    describe_pictures(notebook)
    return uses, link_all_files(lesson, notebook, package)
