"""Where a command may fail, and what is to be said of a run that did."""

import errno
import os
import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass

from fault_scenarios import copied, leftovers, order, said, state_of
from faulty_process import KINDS
from parts import complaints_about
from power_loss import WAYS, Journal, files_below

FAULTS = {
    "open": (("fail", errno.EMFILE), ("fail", errno.EIO)),
    "create": (("fail", errno.ENOSPC), ("fail", errno.EMFILE)),
    "write": (("fill", errno.ENOSPC), ("fail", errno.EIO)),
    "sync": (("fail", errno.EIO), ("fail", errno.ENOSPC)),
    "rename": (("fail", errno.EIO), ("fail", errno.ENOSPC)),
    "unlink": (("fail", errno.EIO),),
    "mkdir": (("fail", errno.ENOSPC), ("fail", errno.EIO)),
    "truncate": (("fail", errno.ENOSPC), ("fail", errno.EIO)),
    "mmap": (("fail", errno.ENOMEM),),
    "read": (("fail", errno.EIO), ("fail", errno.ENOMEM)),
    "close": (("fail", errno.EIO),),
    "link": (("fail", errno.EIO),),
    "list": (("fail", errno.EMFILE), ("fail", errno.EIO)),
    "lock": (("fail", errno.ENOLCK),),
    "stat": (("fail", errno.EIO), ("fail", errno.ENOMEM)),
}
"""What each kind of call fails with; a disk that is full stays so."""

CHANGES = ("create", "write", "sync", "rename", "unlink", "mkdir", "truncate", "link")
SHORTAGES = {errno.EMFILE, errno.ENOMEM, errno.ENOSPC, errno.ENOLCK}
OF_SQLITE = re.compile(
    "disk I/O error|database disk image is malformed|database or disk is full|unable to open database|out of memory"
    "|locking protocol|database is locked|attempt to write a readonly database"
)
"""What SQLite says instead of the reason; what it cannot open to write, it opens to read."""

DAMAGE = re.compile("damage|visrec verify|restore|rebuil|altered|delete it")
CHANGING = re.compile(r"[0-9a-f]{16,}|tmp\w{8}|\d+")


@dataclass(frozen=True)
class Point:
    """The call of *kind* with number *nth*, what happens at it, and what it was in an undisturbed run."""

    kind: str
    nth: int
    action: str
    error: int
    call: str

    def __str__(self):
        name = errno.errorcode.get(self.error, "")
        return f"{self.action} {name} at {self.kind} {self.nth}, {self.call}"

    @property
    def options(self):
        return {"kinds": KINDS[self.kind], "nth": self.nth, "action": self.action, "error": self.error}


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario is without faults: the states before and after it, and its calls in order: (kind, call)."""

    before: object
    after: object
    leftovers: list
    calls: list

    def faults(self):
        """Every call, with all that it may fail with."""
        return [
            Point(kind, nth, action, error, call)
            for kind, nth, call in self._numbered()
            for action, error in FAULTS[kind]
        ]

    def kills(self):
        """Every call that changes something, before which the process is killed, and every write, amid which it is."""
        changes = [(kind, nth, call) for kind, nth, call in self._numbered() if kind in CHANGES]
        return [Point(kind, nth, "kill", 0, call) for kind, nth, call in changes] + [
            Point(kind, nth, "kill-amid", 0, call) for kind, nth, call in changes if kind == "write"
        ]

    def power_losses(self):
        """Every call after which a power cut may leave something else, and the end of the run."""
        kinds = ("sync", "rename", "unlink", "mkdir", "write", "link")
        points = [Point(kind, nth, "kill", 0, call) for kind, nth, call in self._numbered() if kind in kinds]
        return [*points, Point("sync", 1 << 40, "kill", 0, "the end")]

    def _numbered(self):
        numbers = Counter()
        for kind, call in self.calls:
            numbers[kind] += 1
            yield kind, numbers[kind], call


def share_of(points):
    """Return a share of *points*, the same each time: of calls that look alike the first, and one of its faults."""
    alike = {}
    for point in points:
        alike.setdefault((point.kind, CHANGING.sub("*", point.call)), []).append(point)
    return [
        similar[number % len({(p.action, p.error) for p in similar})] for number, similar in enumerate(alike.values())
    ]


class Trials:
    """Runs scenarios in copies of places, with a fault or without."""

    def __init__(self, process, places, folder):
        self._process = process
        self._places = places
        self._place = folder / "place"
        self._undisturbed = {}

    def undisturbed(self, scenario):
        """Run *scenario* once for all tests, and return what it is."""
        if scenario.name not in self._undisturbed:
            self._undisturbed[scenario.name] = self._run_undisturbed(scenario)
        return self._undisturbed[scenario.name]

    def _run_undisturbed(self, scenario):
        before = state_of(self._fresh(scenario))
        log = self._place.with_suffix(".log")
        assert self._run(scenario, log=str(log)) == 0, said(self._place)
        calls = [line.split("\t", 1) for line in log.read_text().splitlines()]
        names = {str(number): name for name, number in KINDS.items()}
        named = [(names[kind], call) for kind, call in calls]
        return Undisturbed(before, state_of(self._place), leftovers(self._place), named)

    def complaints(self, scenario, points, undisturbed):
        """Return what is wrong with *scenario* after a fault at each of *points*, in words."""
        return complaints_about(points, lambda point: self._of_fault(scenario, point, undisturbed))

    def complaints_of_power_loss(self, scenario, points, undisturbed):
        """Return what is wrong with *scenario* after a power cut at each of *points*, in words."""
        return complaints_about(points, lambda point: self._of_power_loss(scenario, point, undisturbed))

    def _of_fault(self, scenario, point, undisturbed):
        """Run *scenario* with a fault at *point*, and once more without; return what is wrong with it, in words."""
        self._fresh(scenario)
        status = self._run(scenario, **point.options)
        found = [*self._of_words(status, point), *self._of_state(self._state(), status, point, undisturbed)]
        found += self._of_rerun(scenario, undisturbed)
        return [f"{scenario.name}: {point}: {complaint}" for complaint in found]

    def _of_power_loss(self, scenario, point, undisturbed):
        """Cut the power at *point*: whatever that leaves of the place is whole, and the next run ends the work."""
        found = []
        place, journal, cut = self._fresh(scenario), self._place.with_name("journal"), self._place.with_name("cut")
        kept = Journal(place, journal)
        status = self._run(scenario, journal=str(journal), **point.options)
        shutil.move(place, cut)
        left = []
        for way in WAYS:
            kept.rebuild(place, way, random.Random(f"{scenario.name} {point}"), live=cut)
            files = files_below(place)
            if files in left:
                continue  # where all is flushed, each way leaves the same
            left.append(files)
            state = self._state()
            of_way = [
                *self._of_state(state, None, point, undisturbed),
                *self._of_durability(state, status, undisturbed),
                *self._of_rerun(scenario, undisturbed),
            ]
            found += [f"{scenario.name}: {point}: {way}: {complaint}" for complaint in of_way]
        shutil.rmtree(cut)
        return found

    def _fresh(self, scenario):
        shutil.rmtree(self._place, ignore_errors=True)
        return copied(self._places / scenario.base, self._place)

    def _run(self, scenario, **options):
        return self._process.run(order(scenario.arguments, self._place, **options))

    def _of_words(self, status, point):
        out, err = said(self._place)
        if point.action.startswith("kill"):
            return []  # nothing can be said then
        if status == "hangs" or status < 0:
            return [f"ends with {status}"]
        if "Traceback" in out + err or "Exception ignored" in err:
            return [f"traceback, status {status}: {err.strip().splitlines()[-1]} {_innermost(err)}"]
        if status == 0:
            return []
        sentences = [line for line in err.splitlines() if line.startswith("visrec: ")]
        if len(sentences) != 1 or err.splitlines()[-1:] != sentences:
            return [f"no sentence, status {status}: {err!r}"]
        found = []
        if not OF_SQLITE.search(out + err) and os.strerror(point.error) not in out + err:
            found.append(f"does not say why: {sentences[0]}")
        if point.error in SHORTAGES and DAMAGE.search(err):
            found.append(f"told as damage: {sentences[0]}")
        return found

    def _of_state(self, state, status, point, undisturbed):
        err = said(self._place)[1]
        if isinstance(state, str):
            return [state]
        told = point.error == errno.EIO and "unreadable" in err
        if status == 0 and state != undisturbed.after and not told:
            return [f"status 0, yet {_difference(state, undisturbed.after)}"]
        whole = (undisturbed.before, undisturbed.after)
        if not told and (state.content, state.is_tuned) not in [(each.content, each.is_tuned) for each in whole]:
            return [f"neither the old nor the new generation: {state.content}"]
        return [
            f"{name} is neither old nor new"
            for name, value in state.outputs.items()
            if name.startswith("neighbors") and value not in [each.outputs.get(name) for each in whole]
        ]

    def _of_durability(self, state, status, undisturbed):
        """What was said to be done is done for good."""
        if status != 0 or isinstance(state, str) or state.content == undisturbed.after.content:
            return []
        return [f"was done, yet is lost: {_difference(state, undisturbed.after)}"]

    def _of_rerun(self, scenario, undisturbed):
        was_done = scenario.once and self._state() == undisturbed.after
        status = self._run(scenario)
        if status != 0 and not was_done:
            return [f"rerun: status {status}: {said(self._place)[1]}"]
        state = self._state()
        if state != undisturbed.after:
            return [f"rerun: {state if isinstance(state, str) else _difference(state, undisturbed.after)}"]
        left = [name for name in leftovers(self._place) if name not in undisturbed.leftovers]
        return [f"leaves {left}"] if left else []

    def _state(self):
        try:
            return state_of(self._place)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the trial found
            return f"cannot be opened: {type(error).__name__}: {error}"


def _innermost(err):
    frames = [line.strip() for line in err.splitlines() if "/vision_recs/" in line or "/cli/" in line]
    return frames[-1] if frames else ""


def _difference(state, wanted):
    for name in ("content", "index_type", "is_tuned", "problems", "outputs"):
        one, other = getattr(state, name), getattr(wanted, name)
        if one != other:
            return f"{name} is {str(one)[:500]}, not {str(other)[:500]}"
    return "the same"
