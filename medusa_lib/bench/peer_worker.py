"""A peer in a process of its own: prompts' ids come in as JSON lines, what it writes goes out.

Started by peers.py as a script, so that it imports nothing but the peer: two runtimes whose
threads wait by spinning disturb each other. The first line out is READY. Then each line in,
{"ids": [...], "count": n}, is answered by one line: new ids without EOS, seconds, passes. A line
with "error" is the last.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import IO, Protocol

READY = {"ready": True}
LLAMA, CTRANSLATE2 = "llama.cpp", "CTranslate2"
LOOKUP_NGRAM = (1, 4)  # tokens; from the shortest to the longest that llama.cpp looks up
Answer = dict[str, object]  # the fields of an Outcome but the seconds
Write = Callable[[list[int], int], Answer]  # (prompt's ids, how many new ones) → what it wrote


@dataclass(frozen=True)
class Settings:
    """What a worker is told at its start.

    model: a file of llama.cpp's, or a folder of CTranslate2's. context: tokens. lookup, draft:
    tokens drafted a loop by prompt lookup, or by the draft model in the file `drafting`; 0: none.
    """

    runtime: str
    model: str
    threads: int
    context: int
    eos: int
    lookup: int = 0
    draft: int = 0
    drafting: str | None = None


class LlamaReader:
    """One model of llama.cpp; `seen` is how many tokens of a text its cache holds."""

    def __init__(self, path: str, settings: Settings) -> None:
        cpp = llama_library()
        self.library, self.seen = cpp, 0
        knobs = cpp.LlamaModelParams()
        knobs.n_gpu_layers = 0
        self.model = cpp.LlamaModel(path, knobs)
        self.context = cpp.LlamaContext(self.model, llama_knobs(cpp, settings))
        self.batch = cpp.LlamaBatch(n_tokens=settings.context, embd=0, n_seq_max=1)
        self.sampler = cpp.LlamaSampler(cpp.LlamaSamplerChainParams())
        self.sampler.add_greedy()
        self.passes = 0

    def start(self) -> None:
        """Forget everything."""
        self.context.kv_cache_clear(False)
        self.seen = self.passes = 0

    def choices(self, text: Sequence[int], branch: Sequence[int] = ()) -> Iterator[int]:
        """One pass over the unseen tokens and a branch → greedy's choice after text, and so on.

        As many as the branch has tokens, and one more.
        """
        fed, batch = [*text[self.seen :], *branch], self.batch
        first = len(fed) - len(branch) - 1
        batch.clear()
        for place, token in enumerate(fed):
            batch.add(token, self.seen + place, [0], place >= first)
        self.context.decode(batch)
        self.seen, self.passes = self.seen + len(fed), self.passes + 1
        return (self.sampler.sample(self.context, place) for place in range(first, len(fed)))

    def roll_back(self, length: int) -> None:
        """Keep the first `length` tokens."""
        if self.seen > length:
            self.context.memory_seq_rm(0, length, -1)
            self.seen = length


def llama_library() -> ModuleType:
    """llama.cpp, quiet."""
    library = importlib.import_module("cyllama.llama.llama_cpp")
    library.disable_logging()
    library.ggml_backend_load_all()
    return library


def llama_knobs(library: ModuleType, settings: Settings) -> object:
    """The threads asked for, else llama.cpp's own defaults, which proved its fastest.

    A cache in half precision and flash attention where it can be had are among them.
    """
    knobs = library.LlamaContextParams()
    knobs.n_ctx = knobs.n_batch = settings.context
    knobs.n_threads = knobs.n_threads_batch = settings.threads
    knobs.offload_kqv = knobs.op_offload = False  # the processor alone
    knobs.no_perf = True
    return knobs


class LlamaDrafter(Protocol):
    """What drafts for llama.cpp."""

    passes: int

    def start(self) -> None:
        """A new text begins."""

    def draft(self, text: list[int], most: int) -> list[int]:
        """At most `most` tokens to follow a text."""

    def roll_back(self, length: int) -> None:
        """The first `length` tokens of the text and what was drafted were right."""


class NoDrafter:
    """Plain greedy decoding."""

    passes = 0

    def start(self) -> None:
        """Nothing to do."""

    def draft(self, text: list[int], most: int) -> list[int]:
        """Nothing."""
        return []

    def roll_back(self, length: int) -> None:
        """Nothing to do."""


class LookupDrafter(NoDrafter):
    """llama.cpp's prompt lookup, by the n-gram cache that its own `lookup` program uses."""

    def __init__(self, library: ModuleType, span: int) -> None:
        self.library, self.span = library, span

    def start(self) -> None:
        """Nothing is known of the new text."""
        self.cache, self.known = self.library.NgramCache(), 0

    def draft(self, text: list[int], most: int) -> list[int]:
        """What followed when the text last said its latest tokens."""
        if most < 1:
            return []
        self.cache.update(text, *LOOKUP_NGRAM, len(text) - self.known)
        self.known = len(text)
        most = min(most, self.span)
        return self.cache.draft(text, most, *LOOKUP_NGRAM)[:most]


class LlamaDraftModel:
    """A small model that drafts greedily.

    The wheel's own class for it draws its drafts by chance, of which greedy accepts few.
    """

    def __init__(self, reader: LlamaReader, span: int) -> None:
        self.reader, self.span = reader, span

    @property
    def passes(self) -> int:
        """Passes of the small model over the present text."""
        return self.reader.passes

    def start(self) -> None:
        """Forget everything."""
        self.reader.start()

    def draft(self, text: list[int], most: int) -> list[int]:
        """The small model's own greedy text."""
        drafted: list[int] = []
        while len(drafted) < min(most, self.span):
            drafted += self.reader.choices([*text, *drafted])
        return drafted

    def roll_back(self, length: int) -> None:
        """Forget what was rejected."""
        self.reader.roll_back(length)


def llama_drafter(reader: LlamaReader, settings: Settings) -> LlamaDrafter:
    """What the settings ask for."""
    if settings.lookup:
        return LookupDrafter(reader.library, settings.lookup)
    if settings.draft:
        return LlamaDraftModel(LlamaReader(settings.drafting, settings), settings.draft)
    return NoDrafter()


def accepted_and_next(choices: Iterable[int], branch: Sequence[int]) -> tuple[int, int]:
    """Greedy's choices one after the other → (tokens of the branch accepted, the next token)."""
    for accepted, choice in enumerate(choices):
        if accepted == len(branch) or choice != branch[accepted]:
            return accepted, choice
    raise ValueError("choices must be one more than the branch has tokens")


def llama_writer(settings: Settings) -> Write:
    """llama.cpp: draft if asked for, verify in one pass, roll back, go on."""
    reader = LlamaReader(settings.model, settings)
    drafter = llama_drafter(reader, settings)

    def write(ids: list[int], count: int) -> Answer:
        text, accepted, evaluated = list(ids), 0, 0
        end = len(ids) + count
        reader.start()
        drafter.start()
        while len(text) < end:
            branch = drafter.draft(text, end - len(text) - 1)
            right, following = accepted_and_next(reader.choices(text, branch), branch)
            reader.roll_back(len(text) + right)
            drafter.roll_back(len(text) + right)
            accepted, evaluated = accepted + right, evaluated + min(right + 1, len(branch))
            text += [*branch[:right], following]
            if settings.eos in text[len(text) - right - 1 :]:
                text = text[: text.index(settings.eos, len(text) - right - 1)]
                break
        drafted = {"accepted": accepted, "evaluated": evaluated} if evaluated else {}
        passes = {"verify_passes": reader.passes, "draft_passes": drafter.passes}
        return {"ids": text[len(ids) :], "loops": reader.passes, **passes, **drafted}

    return write


def ctranslate2_writer(settings: Settings) -> Write:
    """CTranslate2, whose vocabulary is the ids as words: see formats.py."""
    library = importlib.import_module("ctranslate2")
    generator = library.Generator(
        settings.model,
        "cpu",
        compute_type="float32",
        inter_threads=1,
        intra_threads=settings.threads,
    )

    def write(ids: list[int], count: int) -> Answer:
        words = [list(map(str, ids))]
        done = generator.generate_batch(words, max_length=count, include_prompt_in_result=False)
        new = list(done[0].sequences_ids[0])
        passes = min(len(new) + 1, count)  # EOS takes one that leaves no token
        return {"ids": new, "verify_passes": passes, "loops": passes}

    return write


WRITERS = {LLAMA: llama_writer, CTRANSLATE2: ctranslate2_writer}


def timed_answer(write: Write, line: str) -> dict[str, object]:
    """One line in → the line out."""
    asked = json.loads(line)
    began = time.perf_counter()
    answer = write(asked["ids"], asked["count"])
    return {**answer, "seconds": time.perf_counter() - began}


def private_output() -> IO[str]:
    """The standard output for the lines out; whatever else is printed goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Load the peer that the settings name, then answer until the lines end."""
    given = (sys.argv[1:] if argv is None else argv)[0]
    out = private_output()

    def say(words: dict[str, object]) -> None:
        print(json.dumps(words), file=out, flush=True)

    try:
        settings = Settings(**json.loads(given))
        write = WRITERS[settings.runtime](settings)
        say(READY)
        for line in sys.stdin:
            say(timed_answer(write, line))
    except Exception as error:  # whatever a peer raises: the bench says it in one line
        say({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
