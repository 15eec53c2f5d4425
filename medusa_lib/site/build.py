"""The site from the stored notebooks: sources into a scratch folder, Sphinx, then into place."""

from __future__ import annotations

import gzip
import io
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbformat import NotebookNode

from medusa_lib.base.course import LESSONS, Lesson
from medusa_lib.site.lessons import make_page, read_lessons
from medusa_lib.site.pages import bench_page, glossary, landing, source_pages
from medusa_lib.site.panels import ALL, check_names, record_lessons
from medusa_lib.site.race import run_race
from medusa_lib.steps.model import load_lm

HERE = Path(__file__).parent
MARK = ".medusa-site"  # says that a folder holds nothing but a site of ours
MOST = 1_500_000  # bytes of a page with its pictures, as sent with gzip
EXTRA = "pip install -e '.[site]'"
SETTINGS = {
    "project": "Medusa, step by step",
    "html_title": "Medusa, step by step",
    "author": "",
    "language": "en",
    "extensions": ["myst_nb", "sphinx_book_theme"],
    "templates_path": [str(HERE / "templates")],
    "html_theme": "sphinx_book_theme",
    "html_static_path": [str(HERE / "static")],
    "html_css_files": ["site.css"],
    "html_js_files": ["site.js"],
    "html_favicon": str(HERE / "static" / "icon.svg"),
    "html_context": {"default_mode": "auto"},  # the theme complains in each page without
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_show_sphinx": False,
    "html_use_index": False,
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},  # they would come from other hosts
}
THEME = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "secondary_sidebar_items": {"**": ["page-toc.html"], "index": []},
    "show_navbar_depth": 1,
    "search_bar_text": "Search the course",
    "footer_content_items": ["extra-footer.html"],
    "extra_footer": "Medusa, step by step. MIT licence. Built from the stored notebooks.",
}


@dataclass(frozen=True)
class PageSize:
    """What a page weighs in bytes: its HTML, and all of it with its pictures, as sent with gzip."""

    page: str
    html: int
    packed: int
    with_pictures: int


def check_out(out: Path) -> None:
    """Raise ValueError for a folder that holds anything but a site of ours."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, got the file {out}")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).exists():
        raise ValueError(f"--out must be new, empty or a site made before, got {out}, with files")


def sphinx_settings(repository: str | None) -> dict[str, object]:
    """Sphinx's settings. repository: its web address adds links to it, to Binder and to Colab."""
    theme: dict[str, object] = dict(THEME)
    if repository:
        theme |= {
            "repository_url": repository.rstrip("/"),
            "repository_branch": "main",
            "path_to_docs": "notebooks",
            "use_repository_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
                "notebook_interface": "jupyterlab",
            },
        }
    return {**SETTINGS, "html_theme_options": theme}


def write_sources(folder: Path, project: Path, panels: Collection[str]) -> None:
    """All that Sphinx reads: the lessons' copies, and the pages made from what they say."""
    readme = (project / "README.md").read_text(encoding="utf-8")
    notebooks = read_lessons(project)
    minutes = {lesson.name: minutes_of(notebook) for lesson, notebook in notebooks.items()}
    race = run_race(load_lm(device="cpu"))
    write(folder / "index.md", landing(readme, race, minutes))
    write(folder / "bench.md", bench_page(readme))
    write_lessons(folder, project / "medusa_lib", notebooks, panels)


def minutes_of(notebook: NotebookNode) -> str:
    """What a lesson says that it takes. Raises ValueError for one that does not say it."""
    found = re.search(r"about (\d+) minutes", notebook.cells[0].source)
    if not found:
        raise ValueError("a lesson must say 'about N minutes' at its top, got none")
    return found[1]


def write_lessons(
    folder: Path,
    package: Path,
    notebooks: dict[Lesson, NotebookNode],
    panels: Collection[str],
) -> None:
    """The lessons' pages, the glossary of their words and the files that they name."""
    uses, files = [], {lesson.file.removeprefix("medusa_lib/") for lesson in LESSONS}
    recorded = record_lessons(notebooks, panels)
    for lesson, notebook in notebooks.items():
        words, named = make_page(lesson, notebook, package, recorded[lesson])
        uses, files = [*uses, *words], files | named
        write(folder / lesson.notebook, nbformat.writes(notebook))
    write(folder / "glossary.md", glossary(uses))
    for page, text in source_pages(package, files).items():
        write(folder / f"{page}.md", text)


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_sphinx(source: Path, out: Path, settings: dict[str, object]) -> None:
    """Build HTML. Raises RuntimeError with all that Sphinx complains of."""
    from sphinx.application import Sphinx  # noqa: PLC0415 - an extra that only this needs
    from sphinx.util.docutils import docutils_namespace, patch_docutils  # noqa: PLC0415

    complaints, cache = io.StringIO(), out.with_name("doctrees")
    with patch_docutils(), docutils_namespace():
        app = Sphinx(source, None, out, cache, "html", settings, None, complaints)
        app.build(force_all=True)
    if complaints.getvalue().strip():
        raise RuntimeError(f"Sphinx complains:\n{complaints.getvalue()}")


def check_weights(built: Path) -> None:
    """Raise RuntimeError for a page that a phone would wait for."""
    for size in page_sizes(built):
        if size.with_pictures > MOST:
            raise RuntimeError(
                f"{size.page} must have at most {MOST} bytes with gzip, got {size.with_pictures}"
            )


def publish(built: Path, out: Path) -> None:
    """Put a finished site into its place, instead of an earlier one."""
    if out.exists():
        shutil.rmtree(out)
    for unneeded in (".buildinfo", "_sources"):
        path = built / unneeded
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    write(built / MARK, "Made by python -m medusa_lib.site, which may overwrite this folder.\n")
    write(built / ".nojekyll", "")  # or GitHub Pages leaves out folders that begin with _
    shutil.copytree(built, out)


def build_site(
    out: Path, project: Path, repository: str | None = None, panels: Collection[str] = ALL
) -> None:
    """Make the site in the folder `out` from the checkout `project`, which stays as it is.

    panels: names of the lessons whose panels move; the others keep their panels' sentences.
    Raises ValueError for a bad parameter, RuntimeError for a fault in what was built.
    """
    check_out(out)
    check_names(panels)
    with TemporaryDirectory() as scratch:
        source, built = Path(scratch) / "source", Path(scratch) / "html"
        write_sources(source, project, panels)
        run_sphinx(source, built, sphinx_settings(repository))
        check_weights(built)
        publish(built, out)


def packed_size(data: bytes) -> int:
    """Bytes with gzip, as most hosts send text."""
    return len(gzip.compress(data, mtime=0))


def page_sizes(out: Path) -> list[PageSize]:
    """Each page of a site, in the order of its path."""
    return [page_size(path, out) for path in sorted(out.rglob("*.html"))]


def page_size(path: Path, out: Path) -> PageSize:
    """What a page weighs; scripts and styles, which all pages share, left out."""
    html = path.read_bytes()
    found = re.findall(r'<img[^>]* src="([^":]+)"', html.decode())
    pictures = sum((path.parent / name).stat().st_size for name in set(found))
    packed = packed_size(html)
    return PageSize(str(path.relative_to(out)), len(html), packed, packed + pictures)
