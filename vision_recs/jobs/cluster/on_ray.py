"""The machines of a Ray cluster: a block is a plain task, on whichever machine has room.

Plain tasks, since an actor on a lost machine waits for its place for ever, and its block with it. Ray repeats none of
them by itself: the driver does, which knows whether a worker was lost, refused, or slow.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Any, Final

from vision_recs.errors import ClusterError, MissingExtra, VisionRecsError, WorkerRefused, first_line
from vision_recs.jobs.cluster.driver import Finished, Lost, Refused
from vision_recs.jobs.cluster.worker import Block, BlockReport, Work
from vision_recs.jobs.options import ClusterOptions

log = logging.getLogger(__name__)

_AHEAD: Final = 2  # tasks for each place where one can run: the next one waits ready there
_LOOK_S: Final = 2.0
_CONNECT_S: Final = 10.0
_CLIENT_PORT: Final = ":10001"
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would send statistics to its maker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be; the device of a task is said to it
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@dataclass(slots=True)
class _Lane:
    """Tasks with the same resources: *slots* of them run at a time on the cluster."""

    options: dict[str, Any]
    device: str | None
    slots: int = 0
    tasks: set[int] = field(default_factory=set)

    @property
    def load(self) -> float:
        return len(self.tasks) / self.slots if self.slots else float("inf")


class RayPool:
    """A `Pool` of the machines of a Ray cluster."""

    def __init__(self, work: Work, options: ClusterOptions) -> None:
        """Join the cluster that *options* name, and tell its workers of *work*; raises ClusterError, MissingExtra."""
        self._ray = _imported()
        self._is_own = not self._ray.is_initialized()
        if self._is_own:
            _join(self._ray, options.address)
        self._work = self._ray.put(work)
        self._task = self._ray.remote(_embed)
        self._cpus = options.cpus_per_task
        self._gpus = options.gpus_per_task
        plain = {"num_cpus": self._cpus, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        cpu = _Lane(plain, "cpu" if self._gpus else None)
        gpu = _Lane({**plain, "num_gpus": self._gpus}, "cuda")
        self._lanes = [gpu, cpu] if self._gpus else [cpu]
        self._tasks: dict[int, tuple[Any, _Lane]] = {}
        self._numbers = count()
        self._names: dict[str, str] = {}
        self._looked = -_LOOK_S
        self._avoid: Sequence[str] = ()
        self._look()
        if self._gpus and not self._lanes[0].slots:
            log.warning("no machine of the cluster has %g GPUs for a task now: cores embed", self._gpus)

    def room(self) -> int:
        """Return how many tasks more can begin soon."""
        if monotonic() > self._looked + _LOOK_S:
            self._look()
        slots = sum(lane.slots for lane in self._lanes)
        return max(0, _AHEAD * max(slots, 1) - len(self._tasks))

    def idle(self) -> bool:
        """Return whether a task would begin at once."""
        return any(len(lane.tasks) < lane.slots for lane in self._lanes)

    def submit(self, block: Block, *, apart: bool, avoid: Sequence[str]) -> int:
        """Have *block* embedded on a machine that is none of *avoid*, and return the number of the task."""
        if list(avoid) != list(self._avoid):
            self._avoid = list(avoid)
            self._look()
        lane = min(self._lanes, key=lambda each: each.load)
        options = dict(lane.options)
        if avoid:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(avoid)})"}
        number = next(self._numbers)
        ref = self._task.options(**options).remote(
            self._work, block, apart=apart, device=lane.device, workers=self._cpus
        )
        self._tasks[number] = ref, lane
        lane.tasks.add(number)
        return number

    def wait(self, seconds: float) -> list[Finished]:
        """Return the tasks that have ended since the last call, after at most *seconds*."""
        refs = {ref: number for number, (ref, _) in self._tasks.items()}
        if not refs:
            return []
        ready, others = self._ray.wait(list(refs), num_returns=1, timeout=seconds)
        if ready and others:
            more, _ = self._ray.wait(others, num_returns=len(others), timeout=0)
            ready += more
        return [self._finished(refs[ref], ref) for ref in ready] + self._stranded()

    def _stranded(self) -> list[Finished]:
        """Give up the tasks that no machine can do any more, as those with a GPU, if there are machines for others."""
        if not any(lane.slots for lane in self._lanes):
            return []
        stranded = [task for lane in self._lanes if not lane.slots for task in lane.tasks]
        for task in stranded:
            self.cancel(task)
        return [Finished(task, Lost("the machines for it have gone")) for task in stranded]

    def cancel(self, task: int) -> None:
        """End *task*, whose block is done."""
        found = self._forget(task)
        if found is not None:
            self._ray.cancel(found, force=False)

    def usable(self, avoid: Sequence[str]) -> bool:
        """Return whether there is a machine that is none of *avoid*."""
        self._avoid = list(avoid)
        self._look()
        return any(lane.slots for lane in self._lanes)

    def close(self) -> None:
        """End all tasks, and leave the cluster if this has joined it."""
        for task in list(self._tasks):
            ref = self._forget(task)
            self._ray.cancel(ref, force=True)
        if self._is_own:
            self._ray.shutdown()

    def _forget(self, task: int) -> Any:  # noqa: ANN401 - an object of Ray
        found = self._tasks.pop(task, None)
        if found is None:
            return None
        found[1].tasks.discard(task)
        return found[0]

    def _finished(self, task: int, ref: Any) -> Finished:  # noqa: ANN401 - an object of Ray
        self._forget(task)
        outcome: BlockReport | Lost | Refused
        try:
            node, host, outcome = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error  # of an error in the task, else the task was lost
            return Finished(task, Lost(f"{type(cause).__name__}: {first_line(cause)}"))
        others = {name for each, name in self._names.items() if each != node}
        name = self._names.setdefault(node, host if host not in others else f"{host}-{node[:6]}")
        return Finished(task, outcome, name)

    def _look(self) -> None:
        """Count for each lane how many of its tasks can run at a time."""
        self._looked = monotonic()
        slots = [0] * len(self._lanes)
        for node in self._ray.nodes():
            if not node["Alive"] or node["NodeID"] in self._avoid:
                continue
            most = int(node["Resources"].get("CPU", 0) / self._cpus)
            if self._gpus:
                on_gpu = min(most, int(node["Resources"].get("GPU", 0) / self._gpus))
                slots[0] += on_gpu
                most -= on_gpu
            slots[-1] += most
        for lane, found in zip(self._lanes, slots, strict=True):
            lane.slots = found


def _embed(
    work: Work, block: Block, *, apart: bool, device: str | None, workers: int
) -> tuple[str, str, BlockReport | Lost | Refused]:
    """Embed *block* in a worker; return the machine, its name, and what became of the block."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    outcome: BlockReport | Lost | Refused
    try:
        outcome = work.embed(block, apart=apart, workers=workers, device=device)
    except WorkerRefused as error:
        outcome = Refused(node, f"{socket.gethostname()}: {error}")
    except VisionRecsError as error:
        outcome = Lost(str(error))
    return node, socket.gethostname(), outcome


def _imported() -> Any:  # noqa: ANN401 - the module of Ray
    try:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import ray
    except ImportError as error:
        raise MissingExtra("clusters are reached by Ray; pip install 'visrec[ray]'") from error
    return ray


def require_cluster(options: ClusterOptions) -> None:
    """Raise MissingExtra where Ray is not installed, ClusterError where nobody answers at the address of *options*."""
    _imported()
    host = options.address.removeprefix("ray").removeprefix("://")
    if not host:
        return
    try:
        name, _, port = host.rpartition(":")
        with socket.create_connection((name, int(port)), timeout=_CONNECT_S):
            return  # else Ray would try for minutes
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"nobody answers at {options.address} ({first_line(error)}); write ray://HOST:PORT as Ray names it"
        ) from error


def _join(ray: Any, address: str) -> None:  # noqa: ANN401 - the module of Ray
    """Join the cluster at *address*, or begin one on this machine."""
    host = address.removeprefix("ray").removeprefix("://")
    place = f"ray://{host}" if host.endswith(_CLIENT_PORT) else host or None
    try:
        ray.init(address=place, log_to_driver=False, logging_level="ERROR", include_dashboard=None if place else False)
    except Exception as error:
        raise ClusterError(
            f"the cluster {address} cannot be joined ({first_line(error)}); check the address, and that this machine "
            "is one of the cluster"
        ) from error
