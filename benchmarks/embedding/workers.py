"""Processes that hold one loaded contestant each and do timed tasks on request, a line of JSON for a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BENCHMARKS = Path(__file__).parents[1]
ROOT = BENCHMARKS.parent


class WorkerFailed(Exception):
    """A worker ended; the message is the last line that it wrote to its log."""


class Worker:
    """`python -m embedding.<module> ARGUMENTS` as a process that answers; closing it ends the process."""

    def __init__(self, python: str, module: str, arguments: list[str], *, work: Path) -> None:
        """Start it and wait until it is loaded; raises WorkerFailed. Its errors go to a log in the folder *work*."""
        self.log = work / f"{module}-{'-'.join(arguments)}.log"
        paths = [str(BENCHMARKS), str(ROOT)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "VISREC_CACHE": str(work / "cache"),
            "HF_HUB_OFFLINE": "1",
        }
        with self.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [python, "-m", f"embedding.{module}", *arguments, str(work)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        self._process, self._requests, self._answers = process, process.stdin, process.stdout
        self.hello = self._answer()

    def ask(self, task: str, **arguments: object) -> dict[str, Any]:
        """Have *task* done and return its answer; raises WorkerFailed."""
        print(json.dumps({"task": task, **arguments}, default=str), file=self._requests, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            said = self.log.read_text("utf-8").strip().splitlines()
            raise WorkerFailed(said[-1] if said else f"status {self._process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, which ends when its input does."""
        self._requests.close()
        self._answers.close()
        self._process.wait()


def serve(load: Callable[[], tuple[object, Mapping[str, Callable[..., object]]]]) -> None:
    """Call *load* for a greeting and the tasks, then do each task that is sent until the input ends.

    What libraries print goes to the log: the answers alone are on the standard output.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    hello, tasks = load()
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(tasks[request.pop("task")](**request)), file=answers, flush=True)
