"""Lessons in JupyterLab: what the page shows is what the library computes."""

import ast
import importlib
import inspect
import re

import lab
import nbformat
import pytest
from lab import press, slider, value
from playwright.sync_api import expect

from medusa_lib import (
    Cfg,
    acceptance_rate,
    compare,
    encode,
    last_logits,
    medusa_tiny,
    run_greedy,
    speculate,
)
from medusa_lib.base.metrics import metrics
from medusa_lib.beyond.family import jacobi
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.heads_training import (
    Joint,
    Training,
    examples_of,
    openings,
    right_ranks,
    write_texts,
)
from medusa_lib.beyond.typical import Typical
from medusa_lib.demo import PROMPT
from medusa_lib.measure.batches_table import GPT2_SMALL, measured_batches
from medusa_lib.measure.choosing import Plan, fitted_computer, load_of
from medusa_lib.measure.roofline import gpt2_small
from medusa_lib.measure.systems import setting_for
from medusa_lib.steps.device import make_generator
from medusa_lib.teaching.choosing import candidate_of, on_grid, plan_view
from medusa_lib.teaching.device import GUESS_AND_CHECK, ONE_BY_ONE, OPENING, written_after
from medusa_lib.teaching.family import jacobi_words
from medusa_lib.teaching.heads_training import (
    BATCH,
    PICTURES,
    learn,
    scores_words,
    start,
    write_sets,
)
from medusa_lib.teaching.loops import LoopsPanel
from medusa_lib.teaching.medusa_heads import (
    GUESSES_HEAD,
    guesses_of,
    guesses_rows,
    guesses_words,
    read_greedily,
)
from medusa_lib.teaching.sampling_exactly import overlap, overlap_rows, overlap_words
from medusa_lib.teaching.shared.controls import MORE_DRAFTER_NAMES
from medusa_lib.teaching.shared.html import MARKS, token_texts
from medusa_lib.teaching.shared.style import label_of, visible
from medusa_lib.teaching.systems import setting_words
from medusa_lib.teaching.toys.four_words import START, TARGET, WORDS, draft_logits
from medusa_lib.teaching.tree_attention import grown_drafter, tree_view
from medusa_lib.teaching.typical import bound_of
from medusa_lib.teaching.utilities import next_tokens

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(lab.CHROMIUM is None, reason=f"none of {', '.join(lab.NAMES)} is installed"),
]
STEP0 = "STEP0_device", "RacePanel"
STEP3 = "STEP3_sampling", "SamplingPanel"
STEP6 = "STEP6_loops", "LoopsPanel"
STEP7 = "STEP7_demo", "DemoPanel"
BEYOND4 = "beyond/BEYOND4_sampling_exactly", "SamplingExactlyPanel"
BEYOND5 = "beyond/BEYOND5_medusa_heads", "GuessesPanel"
BEYOND7 = "beyond/BEYOND7_tree_attention", "TreePanel"
BEYOND6 = "beyond/BEYOND6_heads_training", "TrainHeadsPanel"
BEYOND8 = "beyond/BEYOND8_typical", "TypicalPanel"
BEYOND10 = "beyond/BEYOND10_systems", "SystemsPanel"
BEYOND11 = "beyond/BEYOND11_numbers", "NumbersPanel"
BEYOND12 = "beyond/BEYOND12_family", "JacobiPanel"
BEYOND13 = "beyond/BEYOND13_choosing", "PlannerPanel"
TOKENS = 3_000  # to train on: BEYOND6's own are more than a browser's keys need
INSTEAD = {"TrainHeadsPanel(lm)": f"TrainHeadsPanel(lm, tokens={TOKENS})"}
BLUE = "rgb(0, 114, 178)"
SLIDERS = [
    "temperature",
    "top-p",
    "span",
    "new tokens",
    "loops",
    "passes",
    "difference",
    "heads",
    "nodes",
    "loop",
    "steps",
    "place",
    "epsilon",
    "delta",
    "bound",
    "places",
    "pass",
    "α",
    "draft cost",
    "users",
    "context",
    "GB/s",
    "GFLOP/s",
]
EVIL = "<img src=x onerror=\"document.title='rendered'\"> said the king"

# What a picture shows: its bars by name, its tick labels, its other texts.
READ_PICTURE = """svg => {
  const all = query => [...svg.querySelectorAll(query)];
  const text = element => element.textContent.trim();
  const bars = all('[id*="bar-"], [id*="accepted-"], [id*="corrected-"], [id*="unused-"]');
  return {
    ticks: all('[id*="-ytick_"] text').map(text),
    texts: all('text').filter(t => !t.closest('[id*="matplotlib.axis"]')).map(text),
    bars: Object.fromEntries(bars.map(bar => {
      const shape = bar.querySelector('path'), box = shape.getBBox();
      const name = bar.id.slice(bar.id.indexOf('-') + 1);
      return [name, {width: box.width, height: box.height, fill: getComputedStyle(shape).fill}];
    })),
  };
}"""


def picture(panel):
    return panel.locator("svg").first.evaluate(READ_PICTURE)


def expect_texts(panel, wanted, part=""):
    """The picture comes to show these texts, of those with `part` in them: it may redraw late."""
    for _ in range(100):
        shown = [text for text in picture(panel)["texts"] if part in text]
        if shown == wanted:
            return
        panel.page.wait_for_timeout(100)
    assert shown == wanted


def says(panel):
    return panel.locator(".says")


def panel_class(lesson, kind):
    """A lesson's panel: its room bears the lesson's word."""
    word = lesson.rsplit("/")[-1].partition("_")[2]
    return getattr(importlib.import_module(f"medusa_lib.teaching.{word}"), kind)


def arguments(lesson, kind):
    """The arguments that a lesson gives its panel: read from its source, defaults included."""
    notebook = nbformat.read(lab.NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
    names = {"lm": None, "PROMPT": PROMPT, "joint": None}
    cells = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    for node in (node for cell in cells for node in ast.walk(cell)):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Constant(constant)):
                names[name] = constant
            case ast.Assign(targets=[ast.Tuple(parts)], value=ast.Tuple(values)):
                for part, each in zip(parts, values, strict=True):
                    if isinstance(each, ast.Constant):
                        names[ast.unparse(part)] = each.value
            case ast.Call(func=ast.Name(name)) if name == kind:
                given = [eval(ast.unparse(each), names) for each in node.args]
                named = {each.arg: eval(ast.unparse(each.value), names) for each in node.keywords}
                bound = inspect.signature(panel_class(lesson, kind)).bind(*given, **named)
                bound.apply_defaults()
                return bound.arguments
    raise AssertionError(f"{lesson} shows no {kind}")


def assert_race_shows(panel, runs, passes):
    """Both texts of STEP0's panel are as far as they come with so many passes."""
    counts = {name: written_after(run, passes) for name, run in runs.items()}
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    expect(says(panel)).to_have_text(f"Tokens written after {passes} model passes: {said}")
    for name, count in counts.items():
        tokens = panel.locator(f".run[data-run='{name}'] .token")
        shown = tokens.evaluate_all("all => all.map(e => e.dataset.source)")
        assert shown == runs[name].sources[:count]


def test_step0_race_follows_the_keyboard_and_play(open_panel, lm, tmp_path):
    panel = open_panel(*STEP0)
    runs = {
        ONE_BY_ONE: run_greedy(lm, OPENING, 30),
        GUESS_AND_CHECK: speculate(lm, OPENING, "heads_chain", 30),
    }
    for keys in (["Home"], ["ArrowRight"] * 3, ["PageUp"], ["End"]):
        press(panel, "passes", *keys)
        assert_race_shows(panel, runs, int(value(panel, "passes")))
    panel.screenshot(path=tmp_path / "step0.png")
    button(panel, "Play").click()
    expect(slider(panel, "passes")).not_to_have_attribute("aria-valuetext", "30")
    expect(slider(panel, "passes")).to_have_attribute("aria-valuetext", "30")
    assert_race_shows(panel, runs, 30)


@pytest.mark.parametrize(
    "moves",
    [
        {"temperature": ["Home"]},
        {"temperature": ["End"], "top-p": ["PageDown", "PageDown", "ArrowLeft"]},
        {"temperature": ["PageDown", "ArrowLeft", "ArrowLeft"], "top-p": ["Home"]},
        {"temperature": ["Home", "PageUp", "ArrowRight"], "top-p": ["End", "PageDown"]},
    ],
    ids=str,
)
def test_step3_bars_follow_the_keyboard(open_panel, lm, moves, tmp_path):
    panel = open_panel(*STEP3)
    for name, keys in moves.items():
        before = value(panel, name)
        press(panel, name, *keys)
        expect(slider(panel, name)).to_be_focused()
        assert value(panel, name) != before
    temperature, top_p = value(panel, "temperature"), value(panel, "top-p")
    logits = last_logits(lm, encode(lm, arguments(*STEP3)["prompt"]))
    view = next_tokens(lm, logits, temperature, top_p)
    expect(says(panel)).to_have_text(
        f"nucleus: {view.nucleus_size} of {len(logits)} tokens, "
        f"together {view.nucleus_mass:.3f} of the probability"
    )
    shown = picture(panel)
    assert shown["ticks"] == [visible(token) for token in view.tokens]
    figures = [text for text in shown["texts"] if re.fullmatch(r"\d\.\d{3}", text)]
    assert figures == [f"{p:.3f}" for p in view.probs]
    bars = [shown["bars"][f"bar-{i}"] for i in range(len(view.probs))]
    widths = [bar["width"] / bars[0]["width"] for bar in bars]
    assert widths == pytest.approx([p / view.probs[0] for p in view.probs], abs=1e-3)
    assert [bar["fill"] == BLUE for bar in bars] == view.kept
    assert ("nucleus ends here" in shown["texts"]) == (not all(view.kept))
    panel.screenshot(path=tmp_path / "step3.png")


@pytest.mark.parametrize(
    "moves",
    [
        {"span": ["Home"], "temperature": ["Home"]},
        {"span": ["End"], "temperature": ["PageUp", "ArrowRight"]},
        {"span": ["ArrowLeft", "ArrowLeft"], "top-p": ["PageDown", "ArrowLeft"]},
    ],
    ids=str,
)
def test_step6_plot_and_figures_follow_the_keyboard(open_panel, lm, moves, tmp_path):
    panel = open_panel(*STEP6)
    for name, keys in moves.items():
        press(panel, name, *keys)
    given = arguments(*STEP6)
    run = medusa_tiny(
        lm,
        given["prompt"],
        given["max_new_tokens"],
        span=int(value(panel, "span")),
        temperature=value(panel, "temperature"),
        top_p=value(panel, "top-p"),
        seed=given["seed"],
    )
    words = LoopsPanel.words(None, run)
    expect(says(panel)).to_have_text(words)
    assert f"{run.model_passes} model passes" in words
    shown = picture(panel)
    assert f"α = {acceptance_rate(run.loops):.2f} " in " ".join(shown["texts"])
    counts = {
        "accepted": [loop.accepted for loop in run.loops],
        "corrected": [loop.evaluated - loop.accepted for loop in run.loops],
        "unused": [loop.unused for loop in run.loops],
    }
    whole = sum(shown["bars"][f"{kind}-0"]["height"] for kind in counts)
    token = whole / len(run.loops[0].branch)
    for kind, wanted in counts.items():
        heights = [shown["bars"][f"{kind}-{i}"]["height"] / token for i in range(len(run.loops))]
        assert heights == pytest.approx(wanted, abs=0.01), kind
    assert f"accepted-{len(run.loops)}" not in shown["bars"]
    panel.screenshot(path=tmp_path / "step6.png")


def set_demo(panel, prompt, **keys):
    """Fill the prompt and move the sliders of STEP7's panel → the Cfg that they show."""
    panel.get_by_label("prompt", exact=True).fill(prompt)
    for name, pressed in keys.items():
        press(panel, name.replace("_", "-").replace("new-", "new "), *pressed)
    return Cfg(
        TEMPERATURE=value(panel, "temperature"),
        TOP_P=value(panel, "top-p"),
        SPAN=int(value(panel, "span")),
        MAX_NEW_TOKENS=int(value(panel, "new tokens")),
        SEED=int(panel.get_by_label("seed").input_value()),
    )


def button(panel, name):
    return panel.get_by_role("button", name=name, exact=True)


def run_demo(panel):
    button(panel, "Run").click()


def assert_demo_shows(panel, lm, prompt, cfg):
    """Both texts token by token with their sources, and the figures, are the library's."""
    drafters = dict(MORE_DRAFTER_NAMES)
    chosen = panel.locator("select").last.evaluate("e => e.selectedOptions[0].text")
    result = compare(lm, prompt, cfg, drafter=drafters[chosen.replace("\xa0", " ")])
    for column, (name, run) in enumerate(result.runs.items()):
        if run is result.cached:
            continue  # shown by its figures only
        text = panel.locator(f'[data-run="{name}"]')
        expect(text.locator("b")).to_have_text(prompt)
        marks = text.locator(".token")
        pairs = zip(token_texts(lm, run.new_ids), run.sources, strict=True)
        wanted = [token.replace("\n", "⏎") + MARKS[source][0] for token, source in pairs]
        expect(marks).to_have_text(wanted)
        assert [mark.replace("\n", "") for mark in marks.all_text_contents()] == wanted
        sources = marks.evaluate_all("marks => marks.map(mark => mark.dataset.source)")
        assert sources == run.sources
        for metric in ("draft_passes", "model_passes", "new_tokens"):
            cell = panel.locator(f'[data-metric="{metric}"]').nth(column)
            expect(cell).to_have_text(str(metrics(run)[metric]))
    expect(says(panel)).to_have_text("identical: yes")


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [
        ("Once upon a time", {"temperature": ["PageDown"], "span": ["ArrowRight"]}),
        (EVIL, {"top_p": ["PageDown"], "new_tokens": ["PageDown", "ArrowRight"]}),
    ],
    ids=["plain", "html"],
)
def test_step7_marks_each_token_with_its_source(open_panel, lm, prompt, keys, tmp_path):
    panel = open_panel(*STEP7)
    cfg = set_demo(panel, prompt, **keys)
    run_demo(panel)
    assert_demo_shows(panel, lm, prompt, cfg)
    expect(panel.locator("img")).to_have_count(0)
    assert panel.page.title() != "rendered"
    panel.screenshot(path=tmp_path / "step7.png")


def long_run(panel):
    """Start a run of many passes over a long text; return once it is on its way.

    It lasts for many seconds, on a quick machine too: no click comes too late.
    """
    prompt = " ".join(["Once upon a time there was a king"] * 30)
    set_demo(panel, prompt, temperature=["End"], span=["End"], new_tokens=["End"])
    run_demo(panel)
    expect(button(panel, "Cancel")).to_be_enabled()


def test_step7_cancel_stops_and_leaves_the_panel_usable(open_panel, lm, tmp_path):
    panel = open_panel(*STEP7)
    long_run(panel)
    button(panel, "Cancel").click()
    expect(panel.get_by_role("status")).to_contain_text("cancelled", timeout=10_000)
    expect(button(panel, "Cancel")).to_be_disabled()
    panel.screenshot(path=tmp_path / "cancelled.png")
    cfg = set_demo(panel, "The king", new_tokens=["Home", "PageUp"], span=["Home", "ArrowRight"])
    run_demo(panel)
    assert_demo_shows(panel, lm, "The king", cfg)
    expect(panel.get_by_role("status")).to_have_count(0)


def test_step7_a_newer_value_overtakes(open_panel, lm):
    panel = open_panel(*STEP7)
    long_run(panel)
    cfg = set_demo(panel, "Once upon a time", new_tokens=["Home", "PageUp"], span=["Home"])
    assert_demo_shows(panel, lm, "Once upon a time", cfg)
    expect(panel.get_by_role("status")).to_have_count(0)


def test_step7_bad_input_is_named_and_the_panel_goes_on(open_panel, lm):
    panel = open_panel(*STEP7)
    set_demo(panel, "", new_tokens=["Home", "PageUp"])
    run_demo(panel)
    expect(panel.get_by_role("alert")).to_contain_text("prompt must be")
    cfg = set_demo(panel, "The old witch")
    run_demo(panel)
    assert_demo_shows(panel, lm, "The old witch", cfg)
    expect(panel.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("keys", [["ArrowRight"] * 3, ["Home"], ["End"]], ids=len)
def test_beyond4_words_and_table_follow_the_keyboard(open_panel, keys):
    panel = open_panel(*BEYOND4)
    press(panel, "difference", *keys)
    knobs = value(panel, "temperature"), value(panel, "top-p")
    parts = overlap(TARGET[START], draft_logits(value(panel, "difference")), *knobs)
    expect(says(panel)).to_have_text(overlap_words(parts))
    shown = panel.locator("table tr").all_inner_texts()[1:]
    assert [line.split() for line in shown] == [list(r) for r in overlap_rows(WORDS, parts)]


def shows_steps(panel, steps):
    """Set a slider of steps of 20, from wherever it is."""
    press(panel, "steps", "Home", *["ArrowRight"] * ((steps - 20) // 20))
    assert value(panel, "steps") == steps


def test_beyond6_heads_learn_when_asked_and_not_before(open_panel, lm, tmp_path):
    panel = open_panel(*BEYOND6)
    expect(panel).to_contain_text("No heads yet")
    train, cancel = button(panel, "Train"), button(panel, "Cancel")
    shows_steps(panel, 300)
    train.click()
    expect(panel.get_by_role("status")).to_contain_text("the model writes texts")
    cancel.click()
    expect(panel.get_by_role("status")).to_contain_text("cancelled while the model wrote")
    shows_steps(panel, 40)
    train.click()
    expect(says(panel)).to_contain_text("hydra, 40 steps")
    expect(cancel).to_be_disabled()
    given = arguments(*BEYOND6)
    sets, training = write_sets(lm, TOKENS, seed=given["seed"]), Training(40, BATCH)
    every = max(1, training.steps // PICTURES)
    points = list(learn(lm, start(lm, sets, "hydra", training), sets, training, every))
    expect(says(panel)).to_have_text(scores_words("hydra", points))
    texts = picture(panel)["texts"]
    assert {f"head {k}" for k in range(1, len(points[-1].right) + 1)} <= set(texts)
    panel.screenshot(path=tmp_path / "beyond6.png")


@pytest.fixture(scope="module")
def joint(lm):
    """The counts of BEYOND7, on the texts that it writes."""
    written = write_texts(lm, openings(lm, 64, 12, make_generator(7)), 48, 0.0, make_generator(7))
    heads, _ = shipped_heads(lm)
    return Joint(right_ranks(heads, examples_of(written, heads.shape.count), lm.vocab_size))


@pytest.mark.parametrize(
    "moves",
    [
        {"nodes": ["Home"], "loop": ["Home", "ArrowRight"]},
        {"nodes": ["End"], "heads": ["ArrowLeft", "ArrowLeft"], "loop": ["End"]},
        {"nodes": ["PageDown", "ArrowRight"], "temperature": ["PageUp"], "loop": ["Home"]},
    ],
    ids=str,
)
def test_beyond7_tree_and_words_follow_the_keyboard(open_panel, lm, joint, moves, tmp_path):
    panel = open_panel(*BEYOND7)
    given = arguments(*BEYOND7)
    for name, keys in moves.items():
        press(panel, name, *keys)
    knobs = int(value(panel, "nodes")), int(value(panel, "heads"))
    drafter = grown_drafter(shipped_heads(lm)[0], joint, *knobs)
    run = speculate(
        lm,
        given["prompt"],
        drafter,
        given["max_new_tokens"],
        temperature=value(panel, "temperature"),
        seed=given["seed"],
    )
    expect(slider(panel, "loop")).to_have_attribute("aria-valuemax", f"{len(run.loops) - 1:.1f}")
    view = tree_view(lm, run, int(value(panel, "loop")))
    expect(says(panel)).to_have_text(view.words)
    signs = ["✓ "] * view.accepted + [""] * len(view.tokens)
    labels = {f"{signs[i]}{i} {visible(token)}" for i, token in enumerate(view.tokens)}
    assert labels <= set(picture(panel)["texts"])
    panel.screenshot(path=tmp_path / "beyond7.png")


@pytest.mark.parametrize(
    "moves",
    [{"place": ["PageUp", "ArrowRight"]}, {"place": ["End"], "heads": ["ArrowLeft"] * 3}],
    ids=len,
)
def test_beyond5_guesses_follow_the_keyboard(open_panel, lm, moves, tmp_path):
    panel = open_panel(*BEYOND5)
    given = arguments(*BEYOND5)
    for name, keys in moves.items():
        press(panel, name, *keys)
    texts = read_greedily(lm, given["prompt"], given["tokens"])
    at, count = texts.start + int(value(panel, "place")), int(value(panel, "heads"))
    ids = texts.ids[0, at : at + count + 1].tolist()
    guesses = guesses_of(shipped_heads(lm)[0], texts.hidden[0, at - 1], ids)
    expect(says(panel)).to_have_text(guesses_words(guesses))
    expect(panel.locator("table tr")).to_have_count(count + 1)
    shown = panel.locator("table tr").all_inner_texts()
    assert shown[0].split("\t")[: len(GUESSES_HEAD) - 1] == list(GUESSES_HEAD[:-1])
    for line, row in zip(shown[1:], guesses_rows(lm, guesses), strict=True):
        assert [cell.strip() for cell in line.split("\t")] == row
    panel.screenshot(path=tmp_path / "beyond5.png")


@pytest.mark.parametrize("moves", [{"temperature": ["End"]}, {"epsilon": ["End"]}], ids=str)
def test_beyond8_bound_follows_the_keyboard(open_panel, lm, moves, tmp_path):
    panel = open_panel(*BEYOND8)
    for name, keys in moves.items():
        press(panel, name, *keys)
    logits = last_logits(lm, encode(lm, arguments(*BEYOND8)["prompt"]))
    rule = Typical(value(panel, "epsilon"), value(panel, "delta"))
    bound = bound_of(logits, value(panel, "temperature"), rule)
    expect(says(panel)).to_have_text(bound.words)
    assert f"bound {bound.least:.3f}" in picture(panel)["texts"]
    panel.screenshot(path=tmp_path / "beyond8.png")


def test_beyond10_row_follows_the_choices(open_panel, tmp_path):
    panel = open_panel(*BEYOND10)
    for system, word in (("vLLM", "span"), ("SGLang", "tree"), ("llama.cpp", "heads")):
        panel.get_by_label("system").select_option(system)
        panel.get_by_label("word").select_option(word)
        row = setting_for(system, word)
        expect(says(panel)).to_have_text(setting_words(row))
        expect(panel.get_by_role("table")).to_contain_text(row.source)
    panel.screenshot(path=tmp_path / "beyond10.png")


def test_beyond11_words_and_picture_follow_the_keyboard(open_panel, tmp_path):
    """At a bound of 0 nothing is near; at the other end more is than at the start."""
    panel = open_panel(*BEYOND11)
    shares = []
    for keys in ((), ("End",), ("Home",)):
        press(panel, "bound", *keys)
        expect(says(panel)).to_contain_text("positions are near ties; flips above the bound:")
        bound = value(panel, "bound")
        expect_texts(panel, [f"bound {bound:g}"] if bound else [], part="bound")
        shares.append(int(re.search(r"about (\d) of 6", says(panel).inner_text())[1]))
    start, most, none = shares
    assert none == 0 < start < most
    panel.screenshot(path=tmp_path / "beyond11.png")


def test_beyond12_guesses_follow_the_keyboard(open_panel, lm, tmp_path):
    panel = open_panel(*BEYOND12)
    prompt = arguments(*BEYOND12)["prompt"]
    for places, moves in ((8, ()), (6, ("ArrowLeft", "ArrowLeft"))):
        press(panel, "places", *moves)
        guesses = jacobi(lm, prompt, places)
        expect(says(panel)).to_have_text(jacobi_words(guesses))
        press(panel, "pass", "Home", "ArrowRight")
        shown = [text for guess in guesses[:2] for text in token_texts(lm, guess)]
        expect_texts(panel, [label_of(text[:9]) for text in shown])
    panel.screenshot(path=tmp_path / "beyond12.png")


@pytest.fixture(scope="module")
def planned(lm):
    """What BEYOND13 gives its panel: the larger model on one thread, and its computer."""
    one = measured_batches()[GPT2_SMALL, 1]
    load = load_of(gpt2_small(lm), one.context)
    return candidate_of(load, one), on_grid(fitted_computer(load, one))


@pytest.mark.parametrize(
    "moves",
    [
        {"α": ["Home"], "users": ["Home"]},
        {"α": ["End"], "span": ["End"], "users": ["ArrowRight", "ArrowRight"]},
        {"α": ["PageDown"], "draft cost": ["PageUp"], "context": ["ArrowRight"]},
    ],
    ids=str,
)
def test_beyond13_words_and_picture_follow_the_keyboard(open_panel, planned, moves, tmp_path):
    panel = open_panel(*BEYOND13)
    candidate, computer = planned
    for name, keys in moves.items():
        press(panel, name, *keys)
    users, context = (round(2 ** value(panel, name)) for name in ("users", "context"))
    plan = Plan(value(panel, "α"), value(panel, "draft cost"), users)
    view = plan_view(computer, candidate, context, plan, int(value(panel, "span")))
    expect(says(panel)).to_have_text(view.words)
    assert {"by the roofline", "by measured passes"} <= set(picture(panel)["texts"])
    panel.screenshot(path=tmp_path / "beyond13.png")


BEYOND = [BEYOND4, BEYOND5, BEYOND7, BEYOND6, BEYOND8, BEYOND10, BEYOND11, BEYOND12, BEYOND13]
PAGES = [STEP0, STEP3, STEP6, STEP7, *BEYOND]


@pytest.mark.parametrize("which", PAGES, ids=lambda which: which[0])
def test_each_page_is_sound(open_panel, which):
    """Each slider has a name, no two elements share an id, the console holds no error of ours."""
    panel = open_panel(*which)
    for handle in panel.get_by_role("slider").all():
        assert handle.get_attribute("aria-label") in SLIDERS
    ids = panel.page.evaluate("[...document.querySelectorAll('.medusa-panel [id]')].map(e => e.id)")
    assert len(set(ids)) == len(ids)
    expect(panel.page.locator(".jp-RenderedText[data-mime-type$=stderr]")).to_have_count(0)
    assert panel.page.errors == []
