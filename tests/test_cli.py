"""`python -m medusa_lib`: the walk through the steps, its options, its errors in one line."""

import json
import os
import subprocess
import sys

import pytest

import medusa_lib.__main__ as cli
from medusa_lib import Comparison, Generation, compare, load_lm, report, run_greedy
from medusa_lib.engine.twin import COMPILING

SHORT = ["--prompt", "abc", "--max-new-tokens", "6", "--device", "cpu"]


@pytest.fixture
def tiny(tiny_folder):
    return ["--model", str(tiny_folder()), *SHORT]


def terminal(*args, **environment):
    """`python -m medusa_lib` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "medusa_lib", *args],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        check=False,
    )


def test_the_terminal_walks_all_steps_with_the_shipped_model():
    ran = terminal("--max-new-tokens", "4", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.strip() in ("", COMPILING)  # as it does on a machine's first run
    assert "identical: yes" in ran.stdout
    assert ran.stdout.count("In a distant future, ") == 5  # the demo's line, then both texts


def test_every_step_says_that_it_is_ready(tiny, capsys):
    assert cli.main(tiny) == 0
    out, err = capsys.readouterr()
    ready = [line for line in out.splitlines() if line.startswith("[STEP")]
    assert ready == [
        "[STEP0] DEVICE = cpu",
        f"[STEP1] MODEL = {tiny[1]}, EOS_ID=0",
        "[STEP2] utils ready: encode/decode/append/last_logits/greedy_next",
        "[STEP3] sampling ready: softmax_temp/top_p_indices/sample_next",
        "[STEP4] drafter ready: propose_one/propose_branch",
        "[STEP5] prefix-accept ready: accept_one/prefix_accept_once",
        "[STEP6] loops ready: medusa_loop_step/medusa_tiny/run_greedy",
        "[STEP7] demo: prompt 'abc'",
    ]
    assert out.index("--- greedy ---") < out.index("--- Medusa-tiny ---") < out.index("identical")
    assert run_greedy(load_lm(tiny[1], "cpu"), "abc", 6).text in out
    assert err == ""


def test_the_texts_come_as_they_are_written_and_greedys_before_anything_is_compiled(
    tiny, capsys, monkeypatch
):
    shown = []
    monkeypatch.setattr(cli, "get_ready", lambda *_: shown.append(capsys.readouterr().out))
    assert cli.main(tiny) == 0
    lm = load_lm(tiny[1], "cpu")
    texts = report(compare(lm, "abc", cli.Cfg(tiny[1], MAX_NEW_TOKENS=6))).split("---\n")
    assert shown[0].endswith(f"--- greedy ---\n{run_greedy(lm, 'abc', 6)}\n")
    whole = "".join(shown) + capsys.readouterr().out
    assert whole.split("--- greedy ---\n", 1)[1].split("---\n")[:-1] == texts[1:-1]


def test_a_piece_of_text_is_shown_at_once(tiny, monkeypatch):
    pieces = []
    monkeypatch.setattr(cli, "show_piece", pieces.append)
    assert cli.main([*tiny, "--max-new-tokens", "5"]) == 0
    assert pieces[0] == "--- greedy ---\nabc"
    assert len(pieces) >= 4 * 2 + 5  # a header and an end each, and greedy's tokens


def test_json_alone_goes_to_standard_output(tiny, capsys):
    knobs = ["--span", "2", "--temperature", "1.5", "--top-p", "0.8", "--seed", "3"]
    bans = ["--ban-eos-first-n", "2", "--rep-ban-n", "1"]
    assert cli.main([*tiny, *knobs, *bans, "--json"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    cfg = cli.Cfg(tiny[1], 1.5, 0.8, 2, 6, 2, 1, 3)
    assert cli.Cfg(**data["cfg"]) == cfg
    both = compare(load_lm(tiny[1], "cpu"), "abc", cfg)
    assert data["medusa"]["new_ids"] == both.medusa.new_ids
    assert data["medusa"]["model_passes"] == both.medusa.model_passes
    assert data["identical"] is True
    assert "[STEP6]" in err


def test_debug_shows_every_comparison(tiny, capsys):
    assert cli.main([*tiny, "--debug"]) == 0
    out = capsys.readouterr().out
    both = compare(load_lm(tiny[1], "cpu"), "abc", cli.Cfg(tiny[1], MAX_NEW_TOKENS=6))
    drafted = [loop for run in both.runs.values() for loop in run.loops if loop.branch]
    assert out.count("\nloop ") == len(drafted)
    evaluated = sum(loop.evaluated for loop in drafted)
    assert out.count("greedy: accepted") + out.count(": corrected, stop") == evaluated > 0


def test_debug_is_quiet_unless_asked(tiny, capsys):
    assert cli.main(tiny) == 0
    assert "draft '" not in capsys.readouterr().out


def test_debug_leaves_json_clean(tiny, capsys):
    assert cli.main([*tiny, "--debug", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["cfg"]["DEBUG"] is True
    assert "loop 0" in err


def test_outputs_that_differ_end_in_1(tiny, capsys, monkeypatch):
    runs = [Generation([2], ids, "text", "length") for ids in ([3], [4], [3], [3])]
    monkeypatch.setattr(cli, "one_by_one", lambda *_: iter(runs))
    monkeypatch.setattr(cli, "compare", lambda _, *given: Comparison(*given[:2], *runs))
    for options, said in (([], "identical: NO"), (["--json"], '"identical": false')):
        assert cli.main([*tiny, *options]) == 1
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("0-7", list(range(8))),
        ("0,1,7", [0, 1, 7]),
        ("7, 0,0", [0, 7]),
        ("0-2,5", [0, 1, 2, 5]),
        ("3", [3]),
        ("4-4", [4]),
    ],
)
def test_parse_steps(text, steps):
    assert cli.parse_steps(text) == steps


BAD_STEPS = ["", ",", "8", "0-8", "-1", "a", "1-", "1-x", "5-2", "1.5", "0-99999999999999"]


@pytest.mark.parametrize("text", BAD_STEPS)
def test_parse_steps_refuses(refuses, text):
    with refuses("steps", text):
        cli.parse_steps(text)


@pytest.mark.parametrize(
    ("step", "on", "missing"),
    [
        (0, [0], []),
        (1, [1], [0]),
        (7, [0, 1, 7], [2, 3, 4, 5, 6]),
        (5, [0, 1, 2, 5], []),  # prefix-accept needs no sampling
        (6, [0, 1, 2, 5, 6], [3, 4]),
        (7, list(range(8)), []),
    ],
)
def test_missing_steps(step, on, missing):
    assert cli.missing_steps(step, on) == missing


def test_steps_can_be_switched_off(tiny, capsys):
    assert cli.main([*tiny, "--steps", "0-2,5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:7] for line in lines] == ["[STEP0]", "[STEP1]", "[STEP2]", "[STEP5]"]


def test_a_step_whose_need_is_off_says_so(tiny, capsys):
    assert cli.main([*tiny, "--steps", "0,1,7"]) == 2
    out = capsys.readouterr().out
    needs = "STEP2, STEP3, STEP4, STEP5, STEP6"
    assert f"[STEP7] not run: it needs {needs}, switched off by --steps 0,1,7" in out
    assert "[STEP1] MODEL" in out
    assert "--- greedy ---" not in out


def test_a_step_without_the_model_loads_nothing(monkeypatch, capsys):
    monkeypatch.setattr(cli, "load_tokenizer", lambda _: pytest.fail("a model was loaded"))
    assert cli.main(["--steps", "1,2"]) == 2
    assert capsys.readouterr().out.count("not run: it needs STEP0") == 2


BAD_ARGUMENTS = [
    (["--temperature", "-1"], "TEMPERATURE"),
    (["--temperature", "nan"], "TEMPERATURE"),
    (["--temperature", "hot"], "--temperature"),
    (["--top-p", "1.5"], "TOP_P"),
    (["--top-p", "inf"], "TOP_P"),
    (["--span", "0"], "SPAN"),
    (["--span", "three"], "--span"),
    (["--span", "1.5"], "--span"),
    (["--max-new-tokens", "0"], "MAX_NEW_TOKENS"),
    (["--ban-eos-first-n", "-1"], "BAN_EOS_FIRST_N"),
    (["--rep-ban-n", "-1"], "REP_BAN_N"),
    (["--seed", "-7"], "SEED"),
    (["--seed", str(2**63)], "SEED"),
    (["--model", ""], "MODEL_ID"),
    (["--device", "toaster"], "device"),
    (["--device", "cuda:999"], "device"),
    (["--steps", "9"], "steps"),
    (["--steps", "0-999999999999"], "steps"),
    (["--prompt", ""], "prompt"),
    (["--prompt", "  "], "prompt"),
    (["--prompt", "lone \udcff"], "prompt"),
    (["--prompt", "a" * 99], "prompt"),
    (["--no-such-option"], "--no-such-option"),
    (["--prompt"], "--prompt"),
]


@pytest.mark.parametrize(("args", "named"), BAD_ARGUMENTS)
def test_bad_input_gives_one_line_and_2(tiny, capsys, args, named):
    try:
        code = cli.main([*tiny, *args])
    except SystemExit as stop:  # argparse's own way out
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert "--- greedy ---" not in out


def test_bad_input_in_the_terminal_gives_one_line_and_2():
    ran = terminal("--prompt", "  ", "--device", "cpu")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: prompt must ")
    assert ran.stderr.count("\n") == 1


def test_a_broken_model_gives_one_line_and_2(tiny_folder, capsys):
    folder = tiny_folder()
    (folder / "model.safetensors").write_bytes(b"garbage")
    capsys.readouterr()  # saving shows a progress bar
    assert cli.main(["--model", str(folder), *SHORT]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: weights of model_id")
    assert err.count("\n") == 1


def test_the_environment_names_the_model(tiny, capsys, monkeypatch):
    monkeypatch.setenv("MEDUSA_MODEL", tiny[1])
    assert cli.main(SHORT) == 0
    assert f"[STEP1] MODEL = {tiny[1]}, EOS_ID=0" in capsys.readouterr().out


def interrupted_after(count):
    def step(*_):
        step.left -= 1
        if step.left < 0:
            raise KeyboardInterrupt
        return 2

    step.left = count
    return step


def test_an_interrupt_within_a_run_says_how_far_it_came(tiny, capsys, monkeypatch):
    monkeypatch.setattr("medusa_lib.steps.loops.greedy_next", interrupted_after(2))
    assert cli.main(tiny) == 130
    assert capsys.readouterr().err == (
        "\nstopped from the keyboard after 2 new tokens; run it again\n"
    )


def test_an_interrupt_while_loading_has_a_message_too(tiny, capsys, monkeypatch):
    monkeypatch.setattr(cli, "load_tokenizer", interrupted_after(0))
    assert cli.main(tiny) == 130
    assert capsys.readouterr().err == "\nstopped from the keyboard\n"


def test_no_weights_are_loaded_for_a_tokenizer_that_fails(tiny, capsys, monkeypatch):
    monkeypatch.setattr(cli, "load_tokenizer", interrupted_after(0))
    monkeypatch.setattr(cli, "load_model", lambda *_: pytest.fail("weights were loaded"))
    assert cli.main(tiny) == 130


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for option in ("prompt", "model", "temperature", "top-p", "span", "max-new-tokens", "seed"):
        assert f"--{option} " in out
    assert "--model MODEL " in out
    assert "--steps" in out
    assert "--debug" in out
    assert "--json" in out
