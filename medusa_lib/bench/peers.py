"""What a user would pick instead: llama.cpp and CTranslate2, on the same prompts and threads.

Each runs in a process of its own and takes turns with ours, prompt by prompt. One that waits
for its turn waits for a line and does nothing else: see SETTLE in rounds.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from medusa_lib.bench import peer_worker
from medusa_lib.bench.decoders import Decoder, Outcome
from medusa_lib.bench.formats import can_be_written, write_ctranslate2, write_gguf
from medusa_lib.bench.peer_worker import CTRANSLATE2, LLAMA, READY, Settings
from medusa_lib.beyond.drafters import draft_fits, draft_lm
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM

PATIENCE = 300  # seconds; a peer that says nothing for so long is given up
EXTRA = "pip install -e '.[peers]'"
NEEDS = {LLAMA: ("cyllama", "gguf"), CTRANSLATE2: ("ctranslate2",)}  # packages of the extra
# Tokens drafted a loop, with which llama.cpp proved fastest: each one more made it slower, and its
# own default, 16, by a quarter.
LOOKUP, DRAFT = 2, 1


@dataclass(frozen=True)
class Peer:
    """A row of the tables.

    half: weights in half precision. lookup, draft: tokens drafted a loop, as in Settings.
    """

    name: str
    runtime: str
    half: bool = False
    lookup: int = 0
    draft: int = 0


LLAMA_HALF = "llama.cpp float16"
PEERS = (
    Peer("llama.cpp float32", LLAMA),
    Peer(LLAMA_HALF, LLAMA, half=True),
    Peer("llama.cpp float16, prompt lookup", LLAMA, half=True, lookup=LOOKUP),
    Peer("llama.cpp float16, draft model", LLAMA, half=True, draft=DRAFT),
    Peer("CTranslate2 float32", CTRANSLATE2),
)


class PeerProcess:
    """A peer at work: started when made, asked one prompt after the other, closed at the end."""

    def __init__(self, name: str, command: Sequence[str], patience: float = PATIENCE) -> None:
        self.name, self.patience = name, patience
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(list(command), text=True, encoding="utf-8", **pipes)
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            if self._answer() != READY:
                raise ChildProcessError(f"{self.name} must first say {json.dumps(READY)}")
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _answer(self) -> dict[str, object]:
        """The next line. Raises ChildProcessError where there is none, or it is no answer."""
        try:
            line = self.lines.get(timeout=self.patience)
        except queue.Empty:
            waited = f"{self.patience:g} seconds"
            raise ChildProcessError(f"{self.name} must answer within {waited}") from None
        if line is None:
            raise ChildProcessError(f"{self.name} ended without an answer{self._last_words()}")
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict) and "error" not in answer:
                return answer
            if isinstance(answer, dict):
                raise ChildProcessError(f"{self.name} failed: {answer['error']}")
        raise ChildProcessError(f"{self.name} must answer in JSON objects, got {line.strip()!r}")

    def _last_words(self) -> str:
        """The exit status and the last line of standard error, as far as there are any."""
        status = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        return f" (exit status {status})" + (f": {last}" if last else "")

    def ask(self, ids: Sequence[int], count: int) -> Outcome:
        """At most `count` new ids after a prompt's. Raises ChildProcessError if none come."""
        try:
            line = json.dumps({"ids": list(ids), "count": count})
            print(line, file=self.process.stdin, flush=True)
        except OSError:  # it has ended: what it last said is told below
            pass
        answer = self._answer()
        check_answer(self.name, answer, count)
        return Outcome(**{**answer, "ids": tuple(answer["ids"])})

    def close(self) -> None:
        """End the process, also one that hangs."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.errors):
            with contextlib.suppress(OSError):
                pipe.close()


def check_answer(name: str, answer: dict[str, object], count: int) -> None:
    """Raises ChildProcessError for an answer that is no Outcome of at most `count` ids."""
    known = {field.name for field in dataclasses.fields(Outcome)}
    needed = {"ids", "seconds", "verify_passes"}
    if not needed <= set(answer) <= known:
        raise ChildProcessError(f"{name} must answer with {sorted(needed)}, got {sorted(answer)}")
    ids, seconds = answer["ids"], answer["seconds"]
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise ChildProcessError(f"ids of {name} must be a list of ints, got {ids!r}")
    if len(ids) > count:
        raise ChildProcessError(f"ids of {name} must be at most {count}, got {len(ids)}")
    if not isinstance(seconds, float) or not seconds > 0:
        raise ChildProcessError(f"seconds of {name} must be a float > 0, got {seconds!r}")


def missing(runtime: str) -> list[str]:
    """The packages that a runtime needs and that are not installed."""
    return [package for package in NEEDS[runtime] if find_spec(package) is None]


def reason_against(runtime: str, lm: LM) -> str | None:
    """Why a runtime cannot take part, in words; None: it can."""
    if not can_be_written(lm):
        return f"{lm.model_id} is no plain GPT-2"
    if lm.device.type != "cpu":
        return f"ours runs on {lm.device.type}, these would run on the processor"
    absent = missing(runtime)
    if not absent:
        return None
    return f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed: {EXTRA}"


def peer_notes(lm: LM, wanted: bool) -> list[str]:
    """What stands under the tables: versions of the peers, or why they are left out."""
    if not wanted:
        return [f"{' and '.join(NEEDS)} were not asked for (--peers)."]
    notes = []
    for runtime, packages in NEEDS.items():
        reason = reason_against(runtime, lm)
        by = ", ".join(f"{package} {version(package)}" for package in packages if not reason)
        notes.append(f"{runtime} is left out: {reason}." if reason else f"{runtime} by {by}.")
    return notes


def exported(peer: Peer, lm: LM, folder: Path) -> Path:
    """The model as the peer reads it; each file is written once."""
    if peer.runtime == CTRANSLATE2:
        path = folder / "ctranslate2"
        if not path.exists():
            write_ctranslate2(lm, path)
        return path
    path = folder / f"{lm.model_id.replace('/', '-')}-{16 if peer.half else 32}.gguf"
    if not path.exists():
        write_gguf(lm, path, peer.half)
    return path


def worker_command(peer: Peer, lm: LM, folder: Path) -> list[str]:
    """How to start a peer. -P: its folder has modules of common names, not to be imported."""
    drafting = str(exported(peer, draft_lm(lm), folder)) if peer.draft else None
    settings = Settings(
        runtime=peer.runtime,
        model=str(exported(peer, lm, folder)),
        threads=torch.get_num_threads(),
        context=lm.context_length,
        eos=lm.end_ids[0],
        lookup=peer.lookup,
        draft=peer.draft,
        drafting=drafting,
    )
    return [sys.executable, "-P", peer_worker.__file__, json.dumps(dataclasses.asdict(settings))]


def decoder_of(process: PeerProcess, lm: LM, count: int) -> Decoder:
    """A peer as one of the bench's decoders: it is fed ids, as many as ours would read."""

    def decode(prompt: str, seed: int) -> Outcome:
        ids = start_ids(lm, prompt)[0].tolist()
        return process.ask(ids, min(count, lm.context_length - len(ids)))

    return decode


def peers_for(lm: LM) -> list[Peer]:
    """The peers that can take part."""
    able = {runtime for runtime in NEEDS if reason_against(runtime, lm) is None}
    return [peer for peer in PEERS if peer.runtime in able and (not peer.draft or draft_fits(lm))]


@contextlib.contextmanager
def peer_decoders(lm: LM, count: int, wanted: bool = True) -> Iterator[dict[str, Decoder]]:
    """The peers as decoders, at work as long as this is open; none if none is wanted."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        decoders: dict[str, Decoder] = {}
        for peer in peers_for(lm) if wanted else []:
            process = PeerProcess(peer.name, worker_command(peer, lm, folder))
            stack.callback(process.close)
            decoders[peer.name] = decoder_of(process, lm, count)
        yield decoders
