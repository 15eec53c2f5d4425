"""How soon a page of the site is there: `python tests/browser/site_seconds.py SITE [PAGE …]`.

SITE: a folder that `python -m medusa_lib.site` made. Each page is opened anew over a plain file
server on this machine, with an empty cache: seconds to its first paint, and to the picture after
the first press of a key on its first slider. The median of five.
"""

import statistics
import sys
from pathlib import Path

import lab
import web

ROUNDS = 5
PAGES = ("index.html", "STEP2_utilities.html", "STEP5_prefix_accept.html")
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
MOVED = """() => new Promise((done) => {
  const slider = document.querySelector("main input[type=range]:not(:disabled)");
  if (!slider) return done(null);
  const step = slider.value === slider.max ? -1 : 1;
  slider.value = Number(slider.value) + step;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() / 1000)));
})"""


def once(browser, address):
    """Seconds to the first paint and to the first moved slider (None without one)."""
    with web.page_in(browser) as page:
        page.goto(address, wait_until="load")
        moved = page.evaluate(MOVED)
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        return page.evaluate(PAINT), moved


def main(site, *pages):
    """Measure and print."""
    site = Path(site).resolve()
    with web.served(site) as host, lab.chromium() as browser:
        for name in pages or PAGES:
            paints, moves = zip(
                *(once(browser, f"{host}/{name}") for _ in range(ROUNDS)), strict=True
            )
            moved = "–" if None in moves else f"{statistics.median(moves):.2f}"
            print(f"{name:36} first paint {statistics.median(paints):.2f}, slider moved {moved}")


if __name__ == "__main__":
    main(*sys.argv[1:])
