"""Each call that a server makes fails: at its start, while it answers, and while it takes a new generation.

A request is answered rightly or with one sentence, the process goes on, and once nothing fails any more every answer is
right, from the new generation.
"""

import hashlib
import json
import shutil
from errno import ENOMEM
from functools import cached_property

import pytest
from fault_points import DAMAGE, SHORTAGES, Undisturbed, share_of
from fault_scenarios import leftovers, order, said
from faulty_process import KINDS
from parts import complaints_about, part_of
from serving_session import BY_WORDS

IN_CI = 12
PATIENCE_S = 60  # for what nothing disturbs, on a busy machine


class Server:
    """A server over a store whose second generation is published while it runs."""

    def __init__(self, process, places, folder):
        self._process = process
        self._base = places / "second"
        self._place = folder / "place"
        manifest = (self._base / "store/generations/000001.json").read_bytes()
        (folder / "old_current").write_text(f"000001 {hashlib.sha256(manifest).hexdigest()}\n")

    def run(self, *, patience_s=0.3, **options):
        """Run it and return its status, and what it told; the generation is taken within *patience_s*, or later."""
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._base, self._place)
        status = self._process.run(order(("serving", str(patience_s)), self._place, **options))
        out, err = said(self._place)
        lines = out.splitlines()
        return status, json.loads(lines[-1]) if lines else None, err

    @cached_property
    def undisturbed(self):
        """What a run without faults tells, and its calls."""
        log = self._place.with_suffix(".log")
        status, told, err = self.run(patience_s=PATIENCE_S, log=str(log))
        assert status == 0, (told, err)
        assert (told["taken"], told["generation"]) == (2, 2)
        names = {str(number): name for name, number in KINDS.items()}
        calls = [line.split("\t", 1) for line in log.read_text().splitlines()]
        return told, Undisturbed(None, None, leftovers(self._place), [(names[kind], call) for kind, call in calls])

    def complaints(self, points):
        """Return what is wrong after a fault at each of *points*, in words."""
        right, undisturbed = self.undisturbed
        return complaints_about(points, lambda point: self._of_fault(point, right, undisturbed.leftovers))

    def _of_fault(self, point, right, left):
        found = self.run(**point.options)
        more = set(leftovers(self._place)) - set(left)
        complaints = [*self._of(*found, point, right), *([f"leaves {more}"] if more else [])]
        return [f"{point}: {complaint}" for complaint in complaints]

    def _of(self, status, told, err, point, right):
        if "Traceback" in err or "Exception ignored" in err:
            yield f"traceback: {err[-600:]}"
        if told is None:
            yield f"ends with {status}: {err[-600:]}"
            return
        if "refused" in told:
            if status != 1 or "\n" in told["refused"]:
                yield f"refuses to start with status {status}: {told['refused']}"
            if point.error in SHORTAGES and DAMAGE.search(told["refused"]):
                yield f"told as damage: {told['refused']}"
            return
        for part in ("first", "second"):
            yield from self._wrong(part, told, right, point)
        if told["generation"] != 2 or told["last"] != right["last"]:
            pairs = zip(told["last"], right["last"], strict=True)
            yield f"does not recover: {[pair for pair in pairs if pair[0] != pair[1]]}"

    def _wrong(self, part, told, right, point):
        every = [answer for name in ("first", "second") for answer in right[name]] + [with_the_words_before(right)]
        for answer in told[part]:
            path, status, text = answer
            if answer in every or path == "/readyz":
                continue
            if status < 500 or "\n" in text.strip() or '"detail"' not in text or "internal" in text.lower():
                yield f"answers {path} with {status} {text}"
            elif point.error in SHORTAGES and DAMAGE.search(text):
                yield f"tells as damage: {path} {text}"


def with_the_words_before(right):
    """Return the answer by words as long as the second generation has no item search: that of the first goes on.

    It finds what both have, so that only the total is another one.
    """
    first, second = (next(answer for answer in right[name] if answer[0] == BY_WORDS) for name in ("first", "second"))
    found = json.loads(second[2]) | {"total": json.loads(first[2])["total"]}
    return [*second[:2], json.dumps(found, separators=(",", ":"))]


@pytest.fixture
def server(process, places, tmp_path):
    return Server(process, places, tmp_path)


def test_a_share_of_all_failing_calls_is_survived(server):
    faults = server.undisturbed[1].faults()
    points = share_of(faults)
    without_item_search = [point for point in faults if point.error == ENOMEM and point.call == "lstat64\t/store/items"]
    assert server.complaints([*points[:: len(points) // IN_CI + 1], *without_item_search]) == []


@pytest.mark.nightly
@pytest.mark.timeout(20_000)
def test_every_failing_call_is_survived(server):
    assert server.complaints(part_of(server.undisturbed[1].faults())) == []
