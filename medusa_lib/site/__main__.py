"""The course as a static web site: `python -m medusa_lib.site --out DIR`.

Made from the stored notebooks, which are not run. It needs no server: open DIR/index.html.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from medusa_lib.site.build import EXTRA, build_site, page_sizes
from medusa_lib.site.panels import ALL

PROJECT = Path(__file__).parents[2]
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m medusa_lib.site", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--project", type=Path, default=PROJECT, help="the checkout to read")
    about = "the repository's web address; adds buttons to it, to Binder and to Colab"
    parser.add_argument("--repository", help=about)
    about = "lessons whose panels shall move (all take minutes to record), or none"
    parser.add_argument("--panels", nargs="*", default=ALL, metavar="LESSON", help=about)
    return parser.parse_args(argv)


def print_sizes(out: Path) -> None:
    """A line for each page."""
    print(f"{'page':44} {'HTML, KB':>9} {'gzip, KB':>9} {'with pictures':>13}")
    for size in page_sizes(out):
        numbers = f"{size.html / 1000:9.0f} {size.packed / 1000:9.0f}"
        print(f"{size.page:44} {numbers} {size.with_pictures / 1000:13.0f}")


def main(argv: list[str] | None = None) -> int:
    """Build, and say what each page weighs; anything wrong ends it with one line."""
    args, began = parse(argv), time.perf_counter()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"error: {', '.join(missing)} not installed: {EXTRA}", file=sys.stderr)
        return 2
    try:
        build_site(args.out, args.project, args.repository, args.panels)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_sizes(args.out)
    print(f"built in {time.perf_counter() - began:.0f} seconds: {args.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
