"""`python -m medusa_lib`: walk the pipeline in the terminal, STEP0 to STEP7."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import NoReturn

from medusa_lib.base.config import MODEL_VARIABLE, Cfg
from medusa_lib.base.records import LoopRecord
from medusa_lib.beyond.pieces import GrowingText
from medusa_lib.demo import (
    PROMPT,
    RUNS,
    Comparison,
    as_json,
    compare,
    describe_loop,
    one_by_one,
    report,
    verdict_on,
)
from medusa_lib.engine.twin import get_ready
from medusa_lib.steps.device import check_device, set_seed
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM, ModelLoadError, load_model, load_tokenizer, make_lm

NEEDS = {0: (), 1: (0,), 2: (1,), 3: (2,), 4: (3,), 5: (2,), 6: (4, 5), 7: (6,)}
KNOBS = {  # option → its type, its help
    "--temperature": (float, ">= 0"),
    "--top-p": (float, "in [0, 1]"),
    "--span": (int, "tokens drafted per loop"),
    "--max-new-tokens": (int, None),
    "--ban-eos-first-n": (int, None),
    "--rep-ban-n": (int, None),
    "--seed": (int, None),
}
READY = {
    2: "utils ready: encode/decode/append/last_logits/greedy_next",
    3: "sampling ready: softmax_temp/top_p_indices/sample_next",
    4: "drafter ready: propose_one/propose_branch",
    5: "prefix-accept ready: accept_one/prefix_accept_once",
    6: "loops ready: medusa_loop_step/medusa_tiny/run_greedy",
}


def parse_steps(text: str) -> list[int]:
    """`"0-7"`, `"0,1,7"`, `"0-2,5"` → sorted step numbers. Raises ValueError for others."""
    steps: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        high = high if dash else low
        if not low.isdecimal() or not high.isdecimal():
            raise ValueError(f"steps must be like 0-7 or 0,1,7, got {text!r}")
        if not int(low) <= int(high) <= 7:
            raise ValueError(f"steps must be between 0 and 7, in rising order, got {text!r}")
        steps |= set(range(int(low), int(high) + 1))
    return sorted(steps)


def missing_steps(step: int, on: list[int]) -> list[int]:
    """The earlier steps that `step` needs, directly or not, and that are off."""
    missing: set[int] = set()
    for needed in NEEDS[step]:
        missing |= set(missing_steps(needed, on)) | ({needed} - set(on))
    return sorted(missing)


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage (that is what --help is for)."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line; defaults are those of Cfg."""
    parser = OneLineParser(
        prog="python -m medusa_lib", description="Greedy against Medusa-tiny, step by step."
    )
    parser.add_argument("--prompt", default=PROMPT)
    said = f"id or folder ({MODEL_VARIABLE})"
    parser.add_argument("--model", dest="model_id", metavar="MODEL", help=said)
    parser.set_defaults(**{name.lower(): value for name, value in vars(Cfg()).items()})
    for name, (kind, said) in KNOBS.items():
        parser.add_argument(name, type=kind, help=said)
    parser.add_argument("--device", help="cpu, cuda or mps; left out: the best at hand")
    parser.add_argument("--steps", default="0-7", help="which steps to run: 0-7 or 0,1,7")
    parser.add_argument("--debug", action="store_true", help="show every comparison")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    return parser


def run_demo(lm: LM, prompt: str, cfg: Cfg, say: Callable[[str], None]) -> Comparison:
    """STEP7 without its texts: run all decoders; with DEBUG, say every comparison."""
    start_ids(lm, prompt)
    get_ready(lm, to_stderr)

    def watch(record: LoopRecord) -> None:
        if cfg.DEBUG and record.branch:
            say(describe_loop(lm, record))

    return compare(lm, prompt, cfg, watch)


def show_live(lm: LM, prompt: str, cfg: Cfg) -> Comparison:
    """STEP7 as it happens: each text while its run writes it, the first before all is compiled."""
    ids, texts, done = start_ids(lm, prompt)[0].tolist(), [], []
    runs = one_by_one(lm, prompt, cfg, lambda record: show_piece(texts[-1].more(record.emitted)))
    for name in RUNS:
        if done:  # greedy's passes are the model's own
            get_ready(lm, to_stderr)
        texts.append(GrowingText(lm, ids))
        show_piece(f"--- {name} ---\n{texts[-1].more()}")
        done.append(next(runs))
        show_piece(f"{texts[-1].rest()}\n")
    return Comparison(prompt, cfg, *done)


def show_piece(piece: str) -> None:
    """Show a piece of a text at once."""
    print(piece, end="", flush=True)


def to_stderr(line: str) -> None:
    """Say what goes on, without mixing it into what is written."""
    print(line, file=sys.stderr)


def step7(lm: LM, args: argparse.Namespace, cfg: Cfg, say: Callable[[str], None]) -> Comparison:
    """STEP7 as the options want it: with its texts live, all its comparisons, or as JSON."""
    if not (args.json or cfg.DEBUG):
        result = show_live(lm, args.prompt, cfg)
        print(verdict_on(result))
        return result
    result = run_demo(lm, args.prompt, cfg, say)
    print(json.dumps(as_json(result), indent=1) if args.json else report(result))
    return result


def run(args: argparse.Namespace) -> int:
    """Run the chosen steps → exit code: 0 done, 1 outputs differ, 2 a step lacked another."""
    cfg = Cfg(**{field.name: getattr(args, field.name.lower()) for field in fields(Cfg)})
    on, code, lm, device = parse_steps(args.steps), 0, None, None

    def say(line: str) -> None:
        print(line, file=sys.stderr if args.json else sys.stdout, flush=True)

    for step in on:
        missing = missing_steps(step, on)
        if missing:
            names = ", ".join(f"STEP{n}" for n in missing)
            say(f"[STEP{step}] not run: it needs {names}, switched off by --steps {args.steps}")
            code = 2
        elif step == 0:
            device = check_device(args.device)
            set_seed(cfg.SEED)
            say(f"[STEP0] DEVICE = {device}")
        elif step == 1:
            tokenizer = load_tokenizer(cfg.MODEL_ID)  # first: it is small, and may be missing
            lm = make_lm(tokenizer, load_model(cfg.MODEL_ID, device), cfg.MODEL_ID)
            say(f"[STEP1] MODEL = {cfg.MODEL_ID}, {lm.ends_in_words}")
        elif step < 7:
            say(f"[STEP{step}] {READY[step]}")
        else:
            say(f"[STEP7] demo: prompt {args.prompt!r}")
            result = step7(lm, args, cfg, say)
            code = max(code, 0 if result.identical else 1)
    return code


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and say any error in one line."""
    args = build_parser().parse_args(argv)
    try:
        return run(args)
    except (ValueError, ModelLoadError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped from the keyboard'}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
