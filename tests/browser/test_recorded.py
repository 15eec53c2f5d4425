"""Recorded panels in a page from disk: whatever a control is moved to, the library's numbers show.

Each panel is recorded over a few values, all panels stand on one page, and every control is moved
by keyboard through all of its values. What should be seen is computed anew from the library.
"""

import dataclasses
import html
import re

import lab
import pytest
import torch
from lab import watch_errors
from playwright.sync_api import expect

from medusa_lib import Cfg, compare, encode, last_logits, medusa_tiny, run_greedy, speculate, stream
from medusa_lib.beyond.family import jacobi
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.typical import Typical
from medusa_lib.measure.choosing import Computer, Plan
from medusa_lib.measure.numbers import PassGap
from medusa_lib.measure.systems import setting_for
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.drafter import propose_branch
from medusa_lib.teaching.choosing import Candidate, PlannerPanel, plan_view
from medusa_lib.teaching.demo import PRESETS, DemoPanel
from medusa_lib.teaching.device import RacePanel, written_after
from medusa_lib.teaching.drafter import BranchPanel, drafted_branch
from medusa_lib.teaching.drafters import DraftersPanel
from medusa_lib.teaching.family import JacobiPanel, jacobi_words
from medusa_lib.teaching.loops import LoopsPanel, loops_words
from medusa_lib.teaching.medusa_heads import (
    GuessesPanel,
    guesses_of,
    guesses_rows,
    guesses_words,
    read_greedily,
)
from medusa_lib.teaching.numbers import NumbersPanel, margins_words
from medusa_lib.teaching.one_pass import OnePassPanel, pass_view
from medusa_lib.teaching.prefix_accept import AcceptPanel, settle_branch
from medusa_lib.teaching.sampling import SamplingPanel
from medusa_lib.teaching.sampling_exactly import (
    SamplingExactlyPanel,
    overlap,
    overlap_rows,
    overlap_words,
)
from medusa_lib.teaching.shared.controls import MORE_DRAFTER_NAMES
from medusa_lib.teaching.shared.html import token_texts
from medusa_lib.teaching.shared.record import recorded_html
from medusa_lib.teaching.shared.style import visible
from medusa_lib.teaching.systems import SystemsPanel, setting_words
from medusa_lib.teaching.toys.four_words import START, TARGET, WORDS, draft_logits
from medusa_lib.teaching.tree_attention import TreePanel, grown_drafter, tree_view
from medusa_lib.teaching.typical import TypicalPanel, bound_of
from medusa_lib.teaching.utilities import TokensPanel, next_tokens

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(lab.CHROMIUM is None, reason=f"none of {', '.join(lab.NAMES)} is installed"),
]
PROMPT, TOKENS = "Once upon a time there was a", 8
DRAFTERS = dict(MORE_DRAFTER_NAMES)
KNOBS = {"temperature": (0.0,), "top_p": (0.5,), "span": (5,)}
# What the controls say they are set to, and what is seen.
READ = """panel => {
  const controls = {};
  panel.querySelectorAll('.recorded-control').forEach(one => {
    const input = one.querySelector('[data-control]'), value = one.querySelector('.recorded-value');
    controls[one.dataset.name] = input.type === 'checkbox' ? String(input.checked)
      : value ? value.textContent : input.selectedOptions[0].text;
    if (input.type === 'range' && input.getAttribute('aria-valuetext') !== value.textContent)
      throw new Error('aria-valuetext is not what is shown');
  });
  return [controls, panel.querySelector('.recorded-frame').textContent];
}"""


def chance(node):
    """How likely a node of a tree is: less with depth and rank."""
    return 0.7 ** len(node) * 0.5 ** sum(node)


GAPS = {
    name: PassGap(torch.linspace(0, wide, 60), torch.zeros(60), torch.arange(60) < 9)
    for name, wide in (("float32", 8.0), ("bfloat16", 2.0))
}
MODELS = {"small": Candidate(1e9, 1e4, 1e9), "large": Candidate(16e9, 1e5, 16e9)}
COMPUTER, PLAN = Computer(1e11, 1e12), Plan(alpha=0.8, batch=8)


def tokens_words(lm, text):
    ids = encode(lm, text)
    view = next_tokens(lm, last_logits(lm, ids), top=8)
    return [*map(str, ids[0].tolist()), *(f" {p:.3f}" for p in view.probs)]


def sampling_words(lm, temperature, top_p, standard):
    logits = last_logits(lm, encode(lm, PROMPT))
    view = next_tokens(lm, logits, temperature, top_p, standard=standard == "true")
    said = f"nucleus: {view.nucleus_size} of {len(logits)} tokens, together {view.nucleus_mass:.3f}"
    return [said, *(f" {p:.3f}" for p in view.probs)]


def branch_words(lm, temperature, top_p, span, again):
    ids, seed = encode(lm, PROMPT), int(again.removeprefix("seed "))
    said = []
    for one in (seed, seed + 1):
        branch = propose_branch(lm, ids, span, temperature, top_p, generator=make_generator(one))
        said.append(f"seed {one}: " + " ".join(map(visible, token_texts(lm, branch))))
    first = drafted_branch(lm, ids, span, temperature, top_p, seed)
    return [*said, *(f"{p:.2f}" if p >= 0.005 else "<0.01" for p in first.probs)]


def accept_words(lm, temperature, top_p, span, again):
    ids, seed = encode(lm, PROMPT), int(again.removeprefix("seed "))
    branch = propose_branch(lm, ids, span, temperature, top_p, generator=make_generator(seed))
    record = settle_branch(lm, ids, branch)
    return [
        f"seed {seed}: {record.accepted} accepted, {record.evaluated - record.accepted} corrected",
        f"for {record.draft_passes} draft + {record.verify_passes} verify passes",
        *map(visible, token_texts(lm, branch)),
    ]


def loops_said(lm, **knobs):
    run = medusa_tiny(lm, PROMPT, TOKENS, seed=7, **knobs)
    passes = f"{run.model_passes} model passes ({run.draft_passes} draft + {run.verify_passes} ver"
    return [f"{len(run.new_ids)} tokens took {passes}", loops_words(run.loops).split(";")[0]]


def short_demo(lm, tokens):
    panel = DemoPanel(lm)
    panel.tokens.value = tokens
    return panel


def demo_words(lm, presets, drafter, loops):
    (prompt,) = (one for one in PRESETS if one.strip() == presets.strip())  # as a page shows it
    result = compare(lm, prompt, Cfg(MAX_NEW_TOKENS=6), drafter=DRAFTERS[drafter])
    counts = [
        sum(len(loop.emitted) for loop in run.loops[: int(loops)])
        for run in (result.greedy, result.medusa, result.cure)
    ]
    said = "greedy {}, Medusa-tiny {}, the cure {}".format(*counts)
    texts = [
        "".join(
            text.replace("\n", "⏎")
            + {"accepted": "✓", "corrected": "✗", "bonus": "+"}.get(kind, "")
            for text, kind in zip(
                token_texts(lm, run.new_ids[:count]), run.sources[:count], strict=True
            )
        )
        for run, count in zip((result.greedy, result.medusa, result.cure), counts, strict=True)
    ]
    return [f"tokens written after {loops} of at most 6 loops: {said}", "identical: yes", *texts]


def race_words(lm, prompt, passes):
    runs = run_greedy(lm, prompt, TOKENS), speculate(lm, prompt, "heads_chain", TOKENS)
    one, two = (written_after(run, int(passes)) for run in runs)
    return [f"Tokens written after {passes} model passes: one by one {one}, guess and check {two}"]


def one_pass_words(lm, prompt, drafter, span, loop):
    run = speculate(lm, prompt, DRAFTERS[drafter], TOKENS, span)
    view = pass_view(lm, run, int(loop))
    return [view.words, *map(visible, view.said)]


def tree_words(lm, depth, nodes, loop):
    drafter = grown_drafter(shipped_heads(lm)[0], chance, int(nodes), int(depth))
    run = speculate(lm, PROMPT, drafter, TOKENS, temperature=0.0, seed=7)
    view = tree_view(lm, run, int(loop))
    return [view.words, *(f"{i} {visible(text)}" for i, text in enumerate(view.tokens))]


def exact_words(lm, temperature, top_p, difference):
    parts = overlap(TARGET[START], draft_logits(difference), temperature, top_p)
    return [overlap_words(parts), *("".join(row) for row in overlap_rows(WORDS, parts))]


def drafters_words(lm, drafter, span, adaptive):
    knobs = {"span": span, "adaptive": adaptive == "true", "max_new_tokens": TOKENS, "seed": 7}
    return [loops_words(list(stream(lm, PROMPT, DRAFTERS[drafter], **knobs, temperature=0.0)))]


def heads_words(lm, place, count):
    texts = read_greedily(lm, PROMPT, TOKENS + 4)
    at = texts.start + int(place)
    ids = texts.ids[0, at : at + int(count) + 1].tolist()
    guesses = guesses_of(shipped_heads(lm)[0], texts.hidden[0, at - 1], ids)
    return [guesses_words(guesses), *("".join(row) for row in guesses_rows(lm, guesses))]


def typical_words(lm, temperature, epsilon, delta):
    logits = last_logits(lm, encode(lm, PROMPT))
    return [bound_of(logits, temperature, Typical(epsilon, delta)).words]


def systems_words(_lm, system, word):
    row = setting_for(system, word)
    return [setting_words(row), row.source]


def numbers_words(_lm, numbers_of, bound):
    return [margins_words(GAPS[numbers_of], bound)]


def jacobi_said(lm, count, passes):
    guesses = jacobi(lm, PROMPT, int(count))
    return [jacobi_words(guesses), visible(token_texts(lm, guesses[0])[0])]


def planner_words(_lm, model, alpha, span):
    plan = dataclasses.replace(PLAN, alpha=alpha)
    return [plan_view(COMPUTER, MODELS[model], 32, plan, span).words]


CASES = {  # panel → how it is made, over which values it is recorded, what should be seen
    "TokensPanel": (lambda lm: TokensPanel(lm, PROMPT), {"text": ("Peter", "x  y")}, tokens_words),
    "SamplingPanel": (
        lambda lm: SamplingPanel(lm, PROMPT),
        {"temperature": (0.0, 2.0), "top_p": (0.3,), "standard": ...},
        sampling_words,
    ),
    "BranchPanel": (
        lambda lm: BranchPanel(lm, PROMPT, branches=2),
        {**KNOBS, "again": (7, 9)},
        branch_words,
    ),
    "AcceptPanel": (lambda lm: AcceptPanel(lm, PROMPT), {**KNOBS, "again": (7, 8)}, accept_words),
    "LoopsPanel": (lambda lm: LoopsPanel(lm, PROMPT, TOKENS), KNOBS, loops_said),
    "DemoPanel": (
        lambda lm: short_demo(lm, 6),
        {"presets": (PROMPT,), "drafter": ("ngram",), "loops": ...},
        demo_words,
    ),
    "RacePanel": (
        lambda lm: RacePanel(lm, PROMPT, TOKENS),
        {"prompt": ("Peter",), "passes": (0, 2, 8)},
        race_words,
    ),
    "OnePassPanel": (
        lambda lm: OnePassPanel(lm, PROMPT, TOKENS),
        {"prompt": ("Peter Rabbit",), "drafter": ("self",), "span": (1,), "loop": ...},
        one_pass_words,
    ),
    "TreePanel": (
        lambda lm: TreePanel(lm, chance, PROMPT, 4, TOKENS),
        {"depth": (1,), "nodes": (2,), "loop": ...},
        tree_words,
    ),
    "SamplingExactlyPanel": (
        lambda _lm: SamplingExactlyPanel(),
        {"temperature": (0.5,), "top_p": (0.5,), "difference": (0.0,)},
        exact_words,
    ),
    "DraftersPanel": (
        lambda lm: DraftersPanel(lm, PROMPT, TOKENS),
        {"drafter": ("self",), "span": (2,), "adaptive": ...},
        drafters_words,
    ),
    "GuessesPanel": (
        lambda lm: GuessesPanel(lm, PROMPT, TOKENS + 4),
        {"place": ..., "count": (2, 6)},
        heads_words,
    ),
    "TypicalPanel": (
        lambda lm: TypicalPanel(lm, PROMPT),
        {"temperature": (1.5,), "epsilon": (0.5,), "delta": (1.0,)},
        typical_words,
    ),
    "SystemsPanel": (lambda _lm: SystemsPanel(), {"system": ..., "word": ...}, systems_words),
    "NumbersPanel": (
        lambda _lm: NumbersPanel(GAPS),
        {"numbers_of": ..., "bound": (0.0, 0.5)},
        numbers_words,
    ),
    "JacobiPanel": (
        lambda lm: JacobiPanel(lm, PROMPT, 4),
        {"count": (2,), "passes": (0, 3)},
        jacobi_said,
    ),
    "PlannerPanel": (
        lambda _lm: PlannerPanel(MODELS, COMPUTER, PLAN),
        {"model": ..., "alpha": (0.5,), "span": (1,)},
        planner_words,
    ),
}


@pytest.fixture(scope="module")
def records(lm):
    return {
        name: make(lm).record(grid, name=f"p-{name}") for name, (make, grid, _) in CASES.items()
    }


def page_of(records):
    pieces = "".join(map(recorded_html, records))
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>panels</title>'
    return f'{head}<meta name="viewport" content="width=device-width"><body>{pieces}</body></html>'


@pytest.fixture(scope="module")
def file(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "panels.html"
    path.write_text(page_of(records.values()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def page(browser, file):
    opened = browser.new_page()
    opened.asked, opened.errors = [], watch_errors(opened)
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(file)
    return opened


def plain(text):
    """Text without the ways in which a page shows a space."""
    return re.sub(r"\s+", " ", text.replace("\xa0", " "))


def number(text):
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def known(text):
    """A control's text as what the library takes: a number where it is one."""
    return number(text) if re.fullmatch(r"-?[\d.]+", text) else text


def check(panel, lm, words):
    """What is seen is what the library says at the values that the controls show."""
    values, seen = panel.evaluate(READ)
    given = {name: known(text.replace("\xa0", " ")) for name, text in values.items()}
    for wanted in words(lm, **given):
        assert plain(wanted).strip() in plain(seen), (given, wanted)
    return tuple(values.values())


def keys_for(control):
    """The keys that take a control through all of its values, one after the other."""
    kind = control.evaluate("e => e.type")
    if kind == "range":
        return ["End", *["ArrowLeft"] * int(control.get_attribute("max")), "Home"]
    if kind.startswith("select"):
        return ["Home", *["ArrowDown"] * (control.locator("option").count() - 1), "Home"]
    return ["Space", "Space"] if kind == "checkbox" else ["Enter", "Space"]


def walk(panel, lm, words):
    """Move every control by keyboard through all its values; check each → what was set.

    The sliders end at the left: small spans take the most loops, and a loop slider comes last.
    """
    expect(panel).to_have_attribute("data-ready", "")
    met = {check(panel, lm, words)}
    controls = panel.locator("[data-control]")
    for control in controls.all():
        control.focus()
        for key in keys_for(control):
            control.press(key)
            met.add(check(panel, lm, words))
    return met


@pytest.mark.parametrize("name", CASES)
def test_every_control_moved_by_keyboard_shows_the_librarys_numbers(page, lm, records, name):
    panel = page.locator(f'.medusa-recorded[data-panel="{name}"]')
    met = walk(panel, lm, CASES[name][2])
    for control, seen in zip(records[name].controls, zip(*met, strict=True), strict=True):
        texts = ("false", "true") if control.kind == "checkbox" else control.texts
        assert set(seen) == {text.strip(" ") for text in texts}, control.name
    told = panel.get_by_role("status")
    assert told.count() == 1


def test_the_page_asks_no_host_and_complains_of_nothing(page, file):
    assert page.asked == [file]
    assert page.errors == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_every_control_has_a_name_and_what_changed_is_told(page):
    for control in page.locator("input, select").all():
        assert control.evaluate("e => e.labels.length === 1 && e.labels[0].textContent !== ''")
    panel = page.locator('.medusa-recorded[data-panel="SamplingPanel"]')
    temperature = panel.get_by_role("slider", name="temperature")
    temperature.press("Home")
    temperature.press("End")
    expect(panel.get_by_role("status")).to_contain_text("nucleus: ")


@pytest.mark.parametrize("wide", [390, 1200])
def test_nothing_is_wider_than_the_page(page, wide):
    page.set_viewport_size({"width": wide, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= wide
    for frame in page.locator(".recorded-frame").all():  # a wide picture scrolls within
        assert frame.evaluate("e => e.getBoundingClientRect().right") <= wide
        assert frame.get_attribute("tabindex") == "0"
        assert frame.get_attribute("aria-label")
    page.set_viewport_size({"width": 1200, "height": 1000})


def test_without_scripts_the_first_picture_shows(browser, file, records):
    context = browser.browser.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto(file)
    for name, record in records.items():
        panel = still.locator(f'.medusa-recorded[data-panel="{name}"]')
        assert html.unescape(record.says) in plain(panel.inner_text())
        expect(panel.locator(".recorded-frame")).not_to_be_empty()
        assert all(control.is_disabled() for control in panel.locator("[data-control]").all())
    context.close()


@pytest.mark.parametrize("name", ["SamplingPanel", "OnePassPanel", "SystemsPanel"])
def test_one_frame_in_anothers_place_is_found_out(browser, lm, records, tmp_path, name):
    """Not the one that shows first: one that the first control leads to."""
    record, table = records[name], list(records[name].table)
    first, *rest = record.controls
    at = 0 if first.start else len(first.values) - 1
    for control in rest:
        at = at * len(control.values) + control.start
    table[at] = next(n for n in range(len(record.frames)) if n != table[at])
    path = tmp_path / "mutated.html"
    path.write_text(page_of([dataclasses.replace(record, table=tuple(table))]), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    panel = page.locator(".medusa-recorded")
    check(panel, lm, CASES[name][2])
    with pytest.raises(AssertionError):
        walk(panel, lm, CASES[name][2])
    page.close()
