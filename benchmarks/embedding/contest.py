"""Rounds in which every contestant embeds in turn, and what the best of them compare to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from embedding.images import write_bad_catalog, write_catalog
from embedding.models import MODELS, make_weights
from embedding.peers import PEERS
from embedding.workers import Worker, WorkerFailed

VISREC = "visrec"
LOOP = "Pillow + torch"
PREPARE = "read, decode, resize"
ENCODE = "encode"
FULL = "read, decode in full, resize"
BAD = "visrec, 1 % bad"

_SLOW = {500: 64, 2000: 32}
_IN_LARGE_BATCHES = {500: 256, 2000: 128}
_DECODED_IN_FULL = 96


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who embeds, or does a part of it: *count* images of the folder or the catalog *where*."""

    name: str
    worker: Worker
    task: str
    where: Path
    count: int

    def run(self) -> dict[str, Any]:
        """Do it once and return the answer, with the rate in images a second."""
        answer = self.worker.ask(self.task, where=self.where, count=self.count)
        return {**answer, "rate": self.count / answer["seconds"]}


def find_peers(pythons: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return which of *pythons* has which peer, the first one first, and why the others are left out."""
    found: dict[str, str] = {}
    for python in pythons:
        for peer in PEERS:
            if peer not in found and _has(python, peer):
                found[peer] = python
    return found, {peer: "not installed in any --peer-python" for peer in PEERS if peer not in found}


def _has(python: str, peer: str) -> bool:
    code = f"from importlib.metadata import version; version({peer!r})"
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


class Contest:
    """The contestants for one model, loaded; *failed* says why a peer is not among them."""

    def __init__(self, key: str, peers: Mapping[str, str], work: Path) -> None:
        """Start their processes, in the folder *work*; *peers* says with which Python."""
        make_weights(key, work)
        self.key = key
        self.failed: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self._work = work
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._visrec = stack.enter_context(Worker(sys.executable, "contestants", [VISREC, key], work=work))
            self._loop = stack.enter_context(Worker(sys.executable, "contestants", ["loop", key], work=work))
            self._peers = {
                peer: worker
                for peer, python in peers.items()
                if key in PEERS[peer] and (worker := self._start(stack, peer, python))
            }
            self._stack = stack.pop_all()

    def _start(self, stack: ExitStack, peer: str, python: str) -> Worker | None:
        try:
            worker = stack.enter_context(Worker(python, "peers", [peer, self.key], work=self._work))
        except WorkerFailed as error:
            self.failed[f"{peer}, {MODELS[self.key].title}"] = str(error)
            return None
        self.versions[peer] = worker.hello["versions"]
        return worker

    def hold(self, size: int, *, rounds: int, most: int) -> dict[str, Any]:
        """Return what *rounds* with images of *size* pixels gave, at most *most* of them for each contestant."""
        contestants, bad = self._contestants(size, most)
        for each in contestants:
            each.run()
        answers: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contestants}
        for _ in range(rounds):
            for each in contestants:
                answers[each.name].append(each.run())
        if bad and answers[BAD][0]["skipped"] != bad:
            raise ValueError(f"{answers[BAD][0]['skipped']} of {bad} bad images were skipped")
        rates = {name: [answer["rate"] for answer in all_] for name, all_ in answers.items()}
        return {
            "model": MODELS[self.key].title,
            "size": size,
            "runtime": self._visrec.hello["runtime"],
            "rates": {each.name: {"images": each.count, **_summary(rates[each.name])} for each in contestants},
            "allowed": round(_allowed(max(rates[PREPARE]), max(rates[ENCODE])), 1),
            "ratios": _ratios(rates),
            "best_round_of_visrec": max(answers[VISREC], key=lambda answer: answer["rate"]),
        }

    def _contestants(self, size: int, most: int) -> tuple[list[Contestant], int]:
        folder = self._work / str(size)
        count = min(MODELS[self.key].images[size], most)
        slow, large = min(_SLOW[size], most), min(_IN_LARGE_BATCHES[size], most)
        whole = [
            Contestant(VISREC, self._visrec, "embed", write_catalog(folder, count), count),
            Contestant(PREPARE, self._visrec, "prepare", folder, count),
            Contestant(ENCODE, self._visrec, "encode", folder, count),
            Contestant(LOOP, self._loop, "embed", folder, slow),
        ]
        whole += [
            Contestant(peer, worker, "embed", folder, large if peer == "clip-retrieval" else slow)
            for peer, worker in self._peers.items()
        ]
        bad = 0
        if self.key == "lite0" and size == min(_SLOW):
            catalog, bad = write_bad_catalog(folder, count)
            whole.append(Contestant(BAD, self._visrec, "embed", catalog, count))
        if self.key == "lite0" and size == max(_SLOW):
            whole.append(Contestant(FULL, self._visrec, "prepare_fully", folder, min(_DECODED_IN_FULL, most)))
        return whole, bad

    def __enter__(self) -> Self:
        """Return the contest."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        self._stack.close()


def _summary(rates: list[float]) -> dict[str, object]:
    return {"best": round(max(rates), 1), "median": round(median(rates), 1), "all": [round(rate, 1) for rate in rates]}


def _allowed(preparing: float, encoding: float) -> float:
    """Return the rate at which both stages can run when they share the cores; each alone keeps all busy."""
    return 1 / (1 / preparing + 1 / encoding)


def _ratios(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    allowed = [_allowed(*pair) for pair in zip(rates[PREPARE], rates[ENCODE], strict=True)]
    best = _allowed(max(rates[PREPARE]), max(rates[ENCODE]))
    ratios = {f"{VISREC} / allowed": _ratio(rates[VISREC], allowed, max(rates[VISREC]) / best)}
    for name in rates.keys() - {VISREC, PREPARE, ENCODE, FULL, BAD}:
        ratios[f"{VISREC} / {name}"] = _ratio(rates[VISREC], rates[name])
    for above, below in ((BAD, VISREC), (PREPARE, FULL)):
        if above in rates and below in rates:
            ratios[f"{above} / {below}"] = _ratio(rates[above], rates[below])
    return dict(sorted(ratios.items()))


def _ratio(above: list[float], below: list[float], of_bests: float | None = None) -> dict[str, float]:
    """Return how the best rounds compare, and the median of how the rounds do one by one."""
    single = median(one / other for one, other in zip(above, below, strict=True))
    return {"best": round(of_bests or max(above) / max(below), 3), "median": round(single, 3)}
