"""Each page of the site opened once: what it complains of, how it fits a phone, what axe finds.

Two browsers share the pages, since there are two cores, and no page is loaded again for each look.
"""

from concurrent.futures import ThreadPoolExecutor

import lab
import web
from axe_playwright_python.sync_playwright import Axe

BROWSERS = 2
BAD = {"serious", "critical"}
ONLY_COLOURS = ("color-contrast", "link-in-text-block")  # all that light and dark can differ in
OPEN = "document.querySelectorAll('main details').forEach(one => one.open = true)"
ONE_OF_EACH = """() => {  // axe looks at each letter's colour: of code, one of a kind will do
  const seen = new Set();
  for (const one of document.querySelectorAll(".highlight span[class]")) {
    const kind = one.className + Boolean(one.closest(".cell_input"));
    if (seen.has(kind)) one.replaceWith(...one.childNodes);
    seen.add(kind);
  }
}"""
CUT_OFF = """() => {
  const scrolls = (one) => one && one !== document.body && (
    ["auto", "scroll"].includes(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
  const shown = (one) => one.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  const faults = [];
  for (const one of document.querySelectorAll("main *")) {
    const {left, right, width} = one.getBoundingClientRect();
    if (width > 1 && (right > innerWidth + 1 || left < -1) && shown(one) && !scrolls(one))
      faults.push(one.outerHTML.slice(0, 120));
  }
  for (const one of document.querySelectorAll("input[type=range] + .recorded-value")) {
    const [value, slider] = [one, one.previousElementSibling].map(e => e.getBoundingClientRect());
    if (value.top > slider.bottom) faults.push(`below its slider: ${one.parentElement.innerText}`);
  }
  const wider = document.documentElement.scrollWidth - innerWidth;
  return wider > 0 ? [wider, ...faults.slice(0, 3)] : faults.slice(0, 3);
}"""


def wear(page, mode):
    """Show a page in light or dark, as the system wishes."""
    page.emulate_media(color_scheme=mode)
    page.wait_for_function("mode => document.documentElement.dataset.theme === mode", arg=mode)


def axe_faults(page, **options):
    """What axe calls a serious or critical fault: rule, and up to three places."""
    found = Axe().run(page, options={"resultTypes": ["violations"], **options})
    return [
        (fault["id"], [(node["target"], node["html"][:150]) for node in fault["nodes"][:3]])
        for fault in found.response["violations"]
        if fault["impact"] in BAD
    ]


def visit(page, address, complaints):
    """All that is wrong with a page: name of a look → its faults. Folded parts are open."""
    page.emulate_media(color_scheme="light")
    complaints.clear()
    page.goto(address, wait_until="load")
    seen = {"open": [*complaints]}
    page.evaluate(OPEN)
    page.set_viewport_size(web.PHONE)
    seen["phone"] = page.evaluate(CUT_OFF)
    page.set_viewport_size(web.DESK)
    page.evaluate(ONE_OF_EACH)
    wear(page, "light")
    seen["light"] = axe_faults(page)
    wear(page, "dark")
    seen["dark"] = axe_faults(page, runOnly=ONLY_COLOURS)
    return seen


def walk(base, names, own):
    """Visit these pages in a browser of their own. own: how all addresses begin that it may ask."""
    with lab.chromium() as browser, web.page_in(browser) as page:
        complaints = web.watch(page, own)
        return {name: visit(page, base + name, complaints) for name in names}


def visit_all(base, names, own):
    """Page → look → faults, the pages dealt out to the browsers in turn."""
    with ThreadPoolExecutor(BROWSERS) as pool:
        dealt = [names[i::BROWSERS] for i in range(BROWSERS)]
        parts = pool.map(lambda some: walk(base, some, own), dealt)
        return {name: seen for part in parts for name, seen in part.items()}
