"""How soon a page of the site is there: `python tests/browser/site_seconds.py SITE [PAGE …]`.

SITE: a folder that `python -m medusa_lib.site` made; PAGE: one with a slider. Each page is opened
anew over a plain file server on this machine, with an empty cache: seconds from the request to its
first paint, and to the paint after the first press of a key on its first slider. The median of
five.
`--readme README.md` writes them there too, as one line.
"""

import argparse
import os
import re
import statistics
from pathlib import Path

import lab
import web

ROUNDS = 5
PAGES = ("index.html", "STEP5_prefix_accept.html", "STEP7_demo.html")  # the last is the heaviest
START, END = "<!-- web: written by the command, not by hand -->", "<!-- /web -->"
PAINT = "performance.getEntriesByName('first-contentful-paint')"
SLIDER = "main input[type=range]:enabled"
WATCH = """slider => slider.addEventListener("input", () => requestAnimationFrame(() =>
  requestAnimationFrame(() => { window.moved = performance.now() / 1000; })))"""


def once(browser, address):
    """Seconds to the first paint, and to the first moved slider."""
    with web.page_in(browser) as page:
        page.goto(address, wait_until="commit")
        slider = page.locator(SLIDER).first
        slider.wait_for()
        slider.evaluate(WATCH)
        slider.press("ArrowLeft" if slider.evaluate("s => s.value === s.max") else "ArrowRight")
        page.wait_for_function(f"window.moved && {PAINT}.length")
        return page.evaluate(f"[{PAINT}[0].startTime / 1000, window.moved]")


def measure(site, pages):
    """Page → the median seconds to its first paint and its first moved slider."""
    with web.served(site) as host, lab.chromium() as browser:
        return {
            name: [
                statistics.median(seconds)
                for seconds in zip(
                    *(once(browser, f"{host}/{name}") for _ in range(ROUNDS)), strict=True
                )
            ]
            for name in pages
        }


def sentence(found):
    """What was measured as one line of the README."""
    said = ", ".join(
        f"`{name}` {paint:.1f} and {moved:.1f}" for name, (paint, moved) in found.items()
    )
    return (
        "Seconds to the first paint and to the first slider moved by a key, in Chromium on "
        f"{os.cpu_count()} cores (load {os.getloadavg()[0]:.0f}) without a GPU, cache empty, "
        f"median of {ROUNDS}: {said}."
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="*", default=PAGES)
    parser.add_argument("--readme", type=Path)
    args = parser.parse_args()
    found = measure(args.site.resolve(), args.pages)
    for name, (paint, moved) in found.items():
        print(f"{name:36} first paint {paint:.2f}, slider moved {moved:.2f}")
    if args.readme:
        text = args.readme.read_text(encoding="utf-8")
        block = f"{START}\n\n{sentence(found)}\n\n{END}"
        whole = re.sub(f"{START}.*?{END}", lambda _: block, text, flags=re.S)
        args.readme.write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    main()
