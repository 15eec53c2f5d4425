"""The peers: how they are asked, what they may answer, and that they write greedy's texts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest
import torch
from tiny_models import replaced_eos
from torch.nn import functional as F
from tree import ROOT

from medusa_lib import run_greedy
from medusa_lib.bench import peer_worker, peers
from medusa_lib.bench.decoders import Outcome
from medusa_lib.bench.formats import as_stored, gguf_tensors, write_ctranslate2, write_gguf
from medusa_lib.bench.peer_worker import LLAMA, Settings, accepted_and_next, llama_writer
from medusa_lib.bench.peers import (
    EXTRA,
    NEEDS,
    PEERS,
    Peer,
    PeerProcess,
    peer_decoders,
    peer_notes,
    peers_for,
    worker_command,
)

SCRIPT = """
import json, sys, time
print(json.dumps({{"ready": True}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    {answer}
"""
GOOD = """print(json.dumps({"ids": asked["ids"][: asked["count"]], "seconds": 0.5,
        "verify_passes": 3, "loops": 3}), flush=True)"""


@contextlib.contextmanager
def at_work(script: str, patience: float = 60):
    process = PeerProcess("fake", [sys.executable, "-c", script], patience)
    try:
        yield process
    finally:
        process.close()


def test_a_peer_is_asked_again_and_again() -> None:
    with at_work(SCRIPT.format(answer=GOOD)) as process:
        assert process.ask([5, 6, 7], 2) == Outcome((5, 6), 0.5, 3, loops=3)
        assert process.ask([8], 2).ids == (8,)
    assert process.process.poll() is not None


def says(**words: object) -> str:
    fields = {"ids": [1], "seconds": 0.5, "verify_passes": 1, **words}
    return f"print({json.dumps(json.dumps(fields))}, flush=True)"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("print('hello', flush=True)", "fake must answer in JSON objects, got 'hello'"),
        ("print('[1]', flush=True)", r"fake must answer in JSON objects, got '\[1\]'"),
        ("print('{}', flush=True)", r"fake must answer with .*'ids', 'seconds'.*, got \[\]"),
        (says(mood="good"), "fake must answer with .*mood"),
        (says(ids="abc"), "ids of fake must be a list of ints, got 'abc'"),
        (says(ids=[1, 2.5]), "ids of fake must be a list of ints"),
        (says(ids=[1, 2, 3]), "ids of fake must be at most 2, got 3"),
        (says(seconds=0.0), "seconds of fake must be a float > 0, got 0.0"),
        (says(seconds="1"), "seconds of fake must be a float > 0, got '1'"),
        (says(error="no room"), "fake failed: no room"),
        ("sys.exit(3)", r"fake ended without an answer \(exit status 3\)$"),
        ("raise OSError('gone')", r"\(exit status 1\): OSError: gone$"),
    ],
)
def test_a_bad_answer_is_told_in_one_line(answer: str, complaint: str) -> None:
    with at_work(SCRIPT.format(answer=answer)) as process:
        with pytest.raises(ChildProcessError, match=complaint) as raised:
            process.ask([1, 2], 2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("import sys; sys.exit('no such model')", r"\(exit status 1\): no such model"),
        ("print('{}', flush=True)", "fake must first say"),
        ("import time; time.sleep(60)", "fake must answer within 0.3 seconds"),
    ],
)
def test_a_peer_that_does_not_start_is_ended(script: str, complaint: str) -> None:
    patience = 0.3 if "sleep" in script else 60
    with pytest.raises(ChildProcessError, match=complaint), at_work(script, patience):
        pass


def test_a_peer_that_died_between_two_turns_is_missed() -> None:
    with at_work("print('{\"ready\": true}', flush=True)") as process:
        process.process.wait()
        with pytest.raises(ChildProcessError, match="ended without an answer .exit status 0"):
            process.ask([1] * 100_000, 2)


def test_the_worker_says_what_went_wrong() -> None:
    settings = dataclasses.asdict(Settings("abacus", "nowhere", 1, 8, 0))
    command = [sys.executable, "-P", peer_worker.__file__, json.dumps(settings)]
    with pytest.raises(ChildProcessError, match="^abacus failed: KeyError: 'abacus'$"):
        PeerProcess("abacus", command)


def test_what_a_peer_prints_is_no_answer() -> None:
    code = (
        "from medusa_lib.bench.peer_worker import private_output\n"
        "out = private_output(); print('noise'); print('said', file=out)"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr.strip()) == ("said", "noise")


def test_without_the_extra_the_rows_are_left_out_and_a_line_says_so(lm, monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peer_notes(lm, True) == [
        f"llama.cpp is left out: cyllama and gguf are not installed: {EXTRA}.",
        f"CTranslate2 is left out: ctranslate2 is not installed: {EXTRA}.",
    ]
    with peer_decoders(lm, 4) as decoders:
        assert decoders == {}


def test_peers_that_nobody_asked_for_do_not_run(lm, monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: "found")
    with peer_decoders(lm, 4, wanted=False) as decoders:
        assert decoders == {}
    assert peer_notes(lm, False) == ["llama.cpp and CTranslate2 were not asked for (--peers)."]


def test_models_and_devices_that_peers_cannot_take(lm, tiny_llama, monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: "found")
    assert "left out: tiny-llama is no plain GPT-2." in peer_notes(tiny_llama, True)[0]
    assert peers_for(tiny_llama) == []
    elsewhere = dataclasses.replace(lm, device=torch.device("cuda"))
    assert "ours runs on cuda" in peer_notes(elsewhere, True)[0]
    assert peers_for(lm) == list(PEERS)


def test_a_model_without_a_draft_model_has_no_row_for_it(tiny_gpt2, monkeypatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: "found")
    assert [peer for peer in PEERS if peer not in peers_for(tiny_gpt2)] == [
        peer for peer in PEERS if peer.draft
    ]


@pytest.mark.parametrize("write", [write_gguf, write_ctranslate2])
def test_only_a_plain_gpt2_can_be_written(write, tiny_llama, tmp_path) -> None:
    with pytest.raises(ValueError, match="^lm must be a plain GPT-2, got tiny-llama$"):
        write(tiny_llama, tmp_path / "model")


def test_the_extra_pins_what_the_peers_need() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pins = tomllib.loads(text)["project"]["optional-dependencies"]["peers"]
    assert {pin.split("==")[0] for pin in pins} == {p for needs in NEEDS.values() for p in needs}
    assert all("==" in pin for pin in pins)


def test_every_weight_is_in_the_file_once_and_turned_for_a_product(tiny_gpt2) -> None:
    found = dict(gguf_tensors(tiny_gpt2))
    state = tiny_gpt2.model.state_dict()
    assert len(found) == len(state)
    assert len(set(found)) == len(found)
    module = tiny_gpt2.model.transformer.h[1].mlp.c_fc
    x = torch.rand(3, 32)
    ours = F.linear(x, found["blk.1.ffn_up.weight"], found["blk.1.ffn_up.bias"])
    assert torch.allclose(ours, module(x), atol=1e-6)
    assert found["token_embd.weight"].shape == state["transformer.wte.weight"].shape


@pytest.mark.parametrize(
    ("name", "shape", "half"),
    [("output.weight", (2, 3), True), ("output.bias", (3,), False)]
    + [("position_embd.weight", (2, 3), False)],
)
def test_only_matrices_of_products_are_halved(name, shape, half) -> None:
    stored = as_stored(name, torch.rand(shape), half=True)
    assert stored.dtype == ("float16" if half else "float32")
    assert as_stored(name, torch.rand(shape), half=False).dtype == "float32"


@pytest.mark.parametrize(
    ("choices", "branch", "expected"),
    [([4], [], (0, 4)), ([4, 5], [4], (1, 5)), ([4, 5], [3], (0, 4)), ([4, 5, 6], [4, 9], (1, 5))],
)
def test_the_peers_verdict_by_hand(choices, branch, expected) -> None:
    assert accepted_and_next(iter(choices), branch) == expected


class Counting:
    """In place of a model of llama.cpp: it counts up; its cache is checked by its length."""

    def __init__(self, path: str, settings: Settings) -> None:
        self.seen = self.passes = 0

    def start(self) -> None:
        self.seen = self.passes = 0

    def choices(self, text, branch=()):
        assert self.seen < len(text)
        self.seen, self.passes = len(text) + len(branch), self.passes + 1
        return iter([token + 1 for token in (text[-1], *branch)])

    def roll_back(self, length: int) -> None:
        self.seen = min(self.seen, length)


@pytest.mark.parametrize(
    ("eos", "count", "drafted", "ids"),
    [
        (99, 5, 0, [4, 5, 6, 7, 8]),
        (7, 5, 0, [4, 5, 6]),
        (99, 5, 3, [4, 5, 6, 7, 8]),
        (6, 5, 3, [4, 5]),  # among accepted drafts
        (4, 5, 3, []),
        (99, 1, 3, [4]),
    ],
)
def test_llama_cpps_loop_stops_where_ours_does(monkeypatch, eos, count, drafted, ids) -> None:
    monkeypatch.setattr(peer_worker, "LlamaReader", Counting)
    settings = Settings(LLAMA, "", 1, 64, eos, draft=drafted, drafting="")
    answer = llama_writer(settings)([2, 3], count)
    assert answer["ids"] == ids
    if not drafted:
        assert answer["verify_passes"] == len(ids) + (len(ids) < count)
        assert "evaluated" not in answer
    elif count > 1:
        assert answer["accepted"] == answer["evaluated"] > 0
        assert answer["draft_passes"] == answer["evaluated"]


def test_rejected_drafts_are_rolled_back_and_counted(monkeypatch) -> None:
    monkeypatch.setattr(peer_worker, "LlamaReader", Counting)
    guesses = iter([[4, 9, 6], [6, 7], []])
    drafter = SimpleNamespace(
        passes=0,
        start=lambda: None,
        draft=lambda text, most: next(guesses)[:most],
        roll_back=lambda length: None,
    )
    monkeypatch.setattr(peer_worker, "llama_drafter", lambda *_: drafter)
    answer = llama_writer(Settings(LLAMA, "", 1, 64, 99))([3], 6)
    assert answer["ids"] == [4, 5, 6, 7, 8, 9]
    assert (answer["accepted"], answer["evaluated"], answer["loops"]) == (3, 4, 3)


PROMPTS = [
    "Once upon a time there was a",
    "la la la la",
    "The king",
    "In the garden behind the old house there stood",
]


def wheels(peer: Peer) -> None:
    for package in NEEDS[peer.runtime]:
        pytest.importorskip(package, reason=f"{package} comes with {EXTRA}")


@pytest.fixture(params=PEERS, ids=lambda peer: peer.name)
def peer(request):
    wheels(request.param)
    return request.param


@contextlib.contextmanager
def decoding(peer: Peer, lm, folder, count: int):
    process = PeerProcess(peer.name, worker_command(peer, lm, folder))
    try:
        yield peers.decoder_of(process, lm, count)
    finally:
        process.close()


def test_a_peer_writes_greedys_texts_and_drafts_pay(peer, lm, tmp_path) -> None:
    with decoding(peer, lm, tmp_path, 32) as decode:
        for prompt in PROMPTS:
            outcome = decode(prompt, 0)
            assert list(outcome.ids) == run_greedy(lm, prompt, 32).new_ids, prompt
            drafting = peer.lookup or peer.draft
            assert (outcome.verify_passes < 32) == bool(drafting and outcome.accepted)
            assert outcome.seconds > 0


def test_a_peer_stops_at_the_end_of_a_text(peer, lm, tmp_path) -> None:
    text = run_greedy(lm, PROMPTS[0], 16).new_ids
    early = replaced_eos(lm, text[9])
    with decoding(dataclasses.replace(peer, draft=0), early, tmp_path, 16) as decode:
        assert list(decode(PROMPTS[0], 0).ids) == text[: text.index(text[9])]


def test_a_peer_stops_where_the_context_ends(peer, lm, tmp_path) -> None:
    prompt = lm.tokenizer.decode(run_greedy(lm, "The king", 60).new_ids * 8)
    length = len(lm.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert lm.context_length - 64 < length < lm.context_length
    with decoding(peer, lm, tmp_path, 64) as decode:
        ids = decode(prompt, 0).ids
    assert len(ids) <= lm.context_length - length


def test_all_peers_take_part_and_are_closed(lm) -> None:
    for peer in PEERS:
        wheels(peer)
    with peer_decoders(lm, 4) as decoders:
        assert list(decoders) == [peer.name for peer in PEERS]
    notes = " ".join(peer_notes(lm, True))
    assert "cyllama" in notes
    assert "left out" not in notes
