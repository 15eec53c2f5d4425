"""The course on the web, in a real browser: every page, from disk and from a host.

What is built is what `python -m medusa_lib.site` builds, once for all tests of this file.
"""

import filecmp
import html.parser
import os
import re
import shutil
from urllib.parse import unquote, urljoin, urlsplit

import lab
import pytest
import web
from playwright.sync_api import expect

needs = "needs pip install -e '.[site]'"
pytest.importorskip("sphinx_book_theme", reason=needs)
pytest.importorskip("axe_playwright_python", reason=needs)

from visits import visit_all  # noqa: E402 - only where the site can be built

from medusa_lib.base.course import LESSONS  # noqa: E402
from medusa_lib.site.build import MOST, check_out, page_sizes  # noqa: E402
from medusa_lib.site.lessons import page_of, read_lessons  # noqa: E402
from medusa_lib.site.race import PROMPT, run_race  # noqa: E402
from medusa_lib.site.readme import bench_block, speeds  # noqa: E402
from medusa_lib.teaching.shared.cells import MOST_PACKED, panel_output  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(lab.CHROMIUM is None, reason="no Chromium on this machine"),
]
SUB_PATH = "some/course"  # a host may keep the site anywhere
SAMPLE = (  # of each kind of page some; of the lessons' panels, recorded and still ones
    "index.html",
    *(f"{page_of(lesson)}.html" for lesson in LESSONS if lesson.name in web.RECORDED),
    "STEP6_loops.html",
    "bench.html",
    "glossary.html",
    "search.html",
    "source/index.html",
    "source/beyond-trees.html",
)


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Two builds, begun at once: name → folder and process."""
    folder = tmp_path_factory.mktemp("web")
    outs = {name: folder / name / SUB_PATH for name in web.BUILDS}
    started = {name: web.start_build(out, i) for i, (name, out) in enumerate(outs.items())}
    yield {name: (out, started[name]) for name, out in outs.items()}
    for build in started.values():
        build.kill()


@pytest.fixture(scope="module")
def site(builds):
    """The folder of a finished site."""
    out, build = builds["first"]
    web.finish(build)
    return out


@pytest.fixture(scope="module")
def bases(site):
    """Where the site's pages are: on disk, and below a path of a host."""
    with web.served(site.parents[1]) as host:
        yield {"disk": f"{site.as_uri()}/", "host": f"{host}/{SUB_PATH}/"}


@pytest.fixture(params=["light", "dark"])
def mode(request):
    return request.param


@pytest.fixture(params=["disk", "host"])
def place(request):
    return request.param


@pytest.fixture(scope="module")
def visits(site, bases):
    """Every page from disk, looked at in all ways: page → look → faults."""
    base = bases["disk"]
    return visit_all(base, web.pages_of(site), base.split(SUB_PATH)[0])


def faults_of(visits, look):
    """The pages where a look found faults."""
    return {page: seen[look] for page, seen in visits.items() if seen[look]}


def test_every_page_opens_without_a_fault_and_asks_no_other_host(site, visits):
    assert len(visits) == len(web.pages_of(site)) > len(LESSONS)
    assert not faults_of(visits, "open")


def test_from_a_host_pages_open_without_a_fault_too(bases, browser):
    """Some of each kind: their files are the same."""
    faults, base = [], bases["host"]
    with web.page_in(browser) as page:
        found = web.watch(page, base.split(SUB_PATH)[0])
        for name in SAMPLE:
            page.goto(base + name, wait_until="load")
            faults += [(name, fault) for fault in found]
            found.clear()
    assert not faults


def test_accessibility(visits, mode):
    """Axe finds no serious fault on any page, with folded parts open and panels recorded."""
    assert not faults_of(visits, mode)


def test_on_a_phone_nothing_is_cut_off_and_no_page_scrolls_sideways(visits):
    assert not faults_of(visits, "phone")


class Links(html.parser.HTMLParser):
    """What a page points to, what can be pointed to in it, and its pictures."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.ids, self.pictures, self.drawings = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.targets += [given[key] for key in ("href", "src") if given.get(key)]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "img":
            self.pictures.append(given.get("alt") or "")
        if tag == "svg" and given.get("aria-hidden") != "true":
            self.drawings.append(given.get("aria-label") or "")


@pytest.fixture(scope="module")
def parsed(site):
    pages = web.pages_of(site)
    return {name: Links((site / name).read_text(encoding="utf-8")) for name in pages}


def test_every_link_leads_somewhere(site, parsed):
    lost = []
    for name, page in parsed.items():
        for target in page.targets:
            whole = urlsplit(urljoin(f"http://here/{name}", target))
            path, anchor = unquote(whole.path).lstrip("/"), unquote(whole.fragment)
            if whole.netloc != "here" or whole.scheme != "http":
                lost += [(name, target)] if whole.scheme not in ("data", "https") else []
            elif not (site / path).is_file() or (anchor and anchor not in parsed[path].ids):
                lost.append((name, target))
    assert not lost


def test_nothing_is_loaded_from_elsewhere(site):
    """What a page loads without being asked to; a link that a reader may click is no matter."""
    loads = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]*""")
    imports = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^)"']*""")
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            assert not loads.findall(text) + imports.findall(text), path


def test_ids_are_unique_on_each_page(parsed):
    twice = {name: [i for i in set(p.ids) if p.ids.count(i) > 1] for name, p in parsed.items()}
    assert not {name: ids for name, ids in twice.items() if ids}


def test_all_pictures_have_words(parsed):
    for name, page in parsed.items():
        for words in page.pictures:
            assert len(words.split()) >= 4, (name, words)
        assert all(page.drawings), name
    assert sum(len(page.pictures) for page in parsed.values()) > 60


def test_each_word_is_linked_to_the_glossary_and_back(parsed):
    """Both ends are there, since every link leads somewhere: see above."""
    for lesson in LESSONS:
        page = f"{page_of(lesson)}.html"
        first = [i for i in parsed[page].ids if i.startswith("word-")]
        back = [t.partition("#")[2] for t in parsed["glossary.html"].targets if page in t]
        assert first
        assert set(first) == set(filter(None, back))
        assert sum("glossary.html#term-" in target for target in parsed[page].targets) > len(first)


@pytest.mark.parametrize(("where", "step"), [("next", 1), ("prev", -1)])
def test_the_lessons_follow_each_other(site, where, step):
    """By the links at a page's foot, and by those in its head."""
    foot = {"next": "right-next", "prev": "left-prev"}[where]
    for lesson, other in zip(LESSONS[::step], LESSONS[::step][1:], strict=False):
        text = (site / f"{page_of(lesson)}.html").read_text(encoding="utf-8")
        (link,) = re.findall(rf'<link rel="{where}"[^>]*href="([^"]+)"', text)
        assert re.findall(rf'class="{foot}"\s+href="([^"]+)"', text) == [link]
        assert os.path.basename(link) == f"{page_of(other).rpartition('/')[2]}.html"


def test_the_pages_hold_what_the_notebooks_store(site, parsed):
    """Pictures, printed lines and folded solutions are all there, and no cell was run."""
    for lesson, stored in read_lessons(web.ROOT).items():
        text = (site / f"{page_of(lesson)}.html").read_text(encoding="utf-8")
        cells = stored.cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        pngs = [o for o in outputs if "image/png" in o.get("data", {})]
        assert len(parsed[f"{page_of(lesson)}.html"].pictures) >= len(pngs)
        folded = sum(cell.source.count("<details") for cell in cells)
        assert text.count("<details><summary>") == folded
        plain = html.unescape(re.sub("<[^>]+>", "", text))
        for output in outputs:
            for line in output.get("text", "").splitlines():
                assert line in plain, (lesson.name, line)


def test_recorded_panels_move_and_others_keep_sentence_and_picture(site, bases, browser):
    """No panel shows both, none shows a widget's place, and none asks a reader to run a cell."""
    for lesson, stored in read_lessons(web.ROOT).items():
        text = (site / f"{page_of(lesson)}.html").read_text(encoding="utf-8")
        panels = [cell.id for cell in stored.cells if panel_output(cell)]
        moving = text.count('<div class="medusa-recorded"')
        still = text.count('<div class="still-panel"')
        assert moving + still == len(panels), lesson.name
        assert text.count('<div class="medusa-instead"') == still
        assert moving == (len(panels) if lesson.name in web.RECORDED else 0)
        assert "Run this cell" not in text
        assert text.count("running notebook its controls move") == still


def test_a_recorded_panel_moves_by_a_key(bases, browser):
    with web.page_in(browser) as page:
        page.goto(bases["disk"] + "STEP5_prefix_accept.html")
        panel = page.locator(".medusa-recorded").first
        before = panel.locator(".recorded-frame").inner_html()
        panel.get_by_role("slider", disabled=False).first.press("ArrowRight")
        expect(panel.locator(".recorded-frame")).not_to_have_js_property("innerHTML", before)


def test_a_still_panel_shows_its_sentence_and_picture(bases, browser, mode):
    with web.page_in(browser, mode=mode) as page:
        page.goto(bases["disk"] + "STEP6_loops.html")
        expect(page.locator(".still-panel")).to_contain_text("Panel: ")
        expect(page.locator(".medusa-instead img[alt]")).to_have_count(1)
        colours = "part => [getComputedStyle(part).backgroundColor, getComputedStyle(part).color]"
        ground, ink = page.locator(".medusa-instead").evaluate(colours)
        assert (ground, ink) == ("rgb(255, 255, 255)", "rgb(27, 27, 27)")


def test_a_solution_unfolds_by_keyboard(bases, browser):
    with web.page_in(browser) as page:
        page.goto(bases["disk"] + "STEP3_sampling.html")
        folded = page.locator("details").filter(has_text="def softmax_by_hand")
        expect(folded.locator("pre")).to_be_hidden()
        folded.locator("summary").press("Enter")
        expect(folded.locator("pre")).to_be_visible()


def test_search_finds_a_lesson(bases, place, browser):
    base = bases[place]
    with web.page_in(browser) as page:
        faults = web.watch(page, base.split(SUB_PATH)[0])
        page.goto(base + "index.html")
        page.keyboard.press("Control+k")
        page.keyboard.type("chi-square")
        page.keyboard.press("Enter")
        found = page.locator("ul.search a").filter(has_text="BEYOND4").first
        found.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Sampling exactly")
        assert not faults


def test_light_and_dark_by_the_button_and_by_the_systems_wish(bases, browser, mode):
    with web.page_in(browser, mode=mode) as page:
        page.goto(bases["disk"] + "index.html")
        root = page.locator("html")
        expect(root).to_have_attribute("data-theme", mode)
        other = {"light": "dark", "dark": "light"}[mode]
        page.get_by_role("button", name="Color mode").press("Enter")
        page.get_by_role("button", name=other.title(), exact=True).press("Enter")
        expect(root).to_have_attribute("data-theme", other)


def texts_shown(page):
    """What each lane of the live picture shows: prompt and tokens that are not hidden."""
    shown = []
    for lane in page.locator(".lane").all():
        parts = lane.locator(".given, .token:not(.later)").all_text_contents()
        shown.append("".join(parts))
    return shown


def test_the_live_picture_shows_the_records_at_every_pass(bases, browser, lm):
    lanes = run_race(lm)
    with web.page_in(browser) as page:
        page.goto(bases["disk"] + "index.html")
        slider = page.get_by_role("slider", name="passes")
        slider.press("Home")
        for passes in range(lanes[0].passes + 1):
            wanted = [
                PROMPT + "".join(text for text, _, at in lane.tokens if at <= passes)
                for lane in lanes
            ]
            assert texts_shown(page) == wanted
            counts = page.locator(".lane .written").all_text_contents()
            assert [int(count) for count in counts] == [lane.written(passes) for lane in lanes]
            slider.press("ArrowRight")
        assert "after pass 40: Greedy 40 tokens" in slider.get_attribute("aria-valuetext")


def test_the_live_picture_plays_pauses_and_keeps_still_if_asked(bases, browser):
    with web.page_in(browser, still=False) as page:
        page.clock.install()  # so that nobody waits while it plays
        page.goto(bases["disk"] + "index.html")
        page.clock.run_for(1000)
        page.get_by_role("button", name="Pause").click()
        before = texts_shown(page)
        page.clock.run_for(500)
        assert texts_shown(page) == before
        assert page.locator(".token.later").count() > 0
        page.get_by_role("button", name="Go on").click()
        page.clock.run_for(10_000)
        page.get_by_role("button", name="Play again").wait_for()
        assert page.locator(".token.later").count() == 0
    with web.page_in(browser, still=True) as page:
        page.goto(bases["disk"] + "index.html")
        page.get_by_role("button", name="Play again").wait_for()
        assert page.locator(".token.later").count() == 0


def test_the_landing_pages_figures_are_the_readmes(bases, browser):
    found = speeds(bench_block((web.ROOT / "README.md").read_text(encoding="utf-8")))
    with web.page_in(browser) as page:
        page.goto(bases["disk"] + "index.html")
        shown = [text.strip() for text in page.locator("table.bars td").all_text_contents()]
    assert len(shown) == 5
    assert set(shown) <= set(found.values())


def test_builds_twice_to_the_same_bytes(site, builds):
    again, build = builds["second"]
    web.finish(build)
    names = [path.relative_to(site) for path in site.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    same, other, odd = filecmp.cmpfiles(site, again, names, shallow=False)
    assert not other + odd
    assert len(same) == len(names)


def test_each_page_weighs_little_even_with_the_heaviest_panels(site):
    """A recorded panel is there as it is; each still one is taken to weigh all that one may."""
    sizes = page_sizes(site)
    assert {f"{page_of(lesson)}.html" for lesson in LESSONS} < {size.page for size in sizes}
    for size in sizes:
        still = (site / size.page).read_text(encoding="utf-8").count('class="still-panel"')
        assert size.with_pictures + still * MOST_PACKED <= MOST, size


def test_a_foreign_folder_is_left_alone_and_an_own_one_is_built_anew(site, tmp_path):
    check_out(site)
    check_out(tmp_path)
    check_out(tmp_path / "new")
    shutil.copy(site / "index.html", tmp_path)
    with pytest.raises(ValueError, match="--out must be new, empty or a site made before"):
        check_out(tmp_path)
