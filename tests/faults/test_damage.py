"""Damage of every file of a store, followed by every command that reads.

No command is ended by a signal or a traceback; whoever cannot answer says why in a sentence. Where `verify` calls the
store sound, all answers are those of the undamaged one. Else it names the damaged file, and what it advises mends the
store, with a word, or says what is lost.
"""

import csv
import json
import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from damaging import damage, files_of
from fake_shop import FakeEncoder, image
from faulty_process import Order
from parts import complaints_about, part_of, seed

from vision_recs.jobs import retune
from vision_recs.store import Projection

IN_CI, NIGHTLY = 15, 2_000
FOUND_AT_NIGHT = 777, [62]
"""The seed and the trials that once found something."""

COUNT = 84
WITH_DELTAS = {"flat", "hnsw", "tuned"}
STORES = ("flat", "hnsw", "ivf-pq", "faiss:IVF4,SQ8", "faiss:HNSW8,Flat", "tuned")
READING = (
    ("similar", "item03", "-k", "5", "--json"),
    ("similar", "item07", "item09", "--negative", "item20", "--where", "price < 30 and in_stock", "--json"),
    ("similar", "item05", "--where", "name.startswith('mug') or code > 1152921504606846976", "--json"),
    ("similar", "--image", "images/3.png", "-k", "4", "--json"),
    ("similar", "item11", "--where", "not (note == 'new')", "-k", "90", "--json"),
    ("neighbors", "out.jsonl", "-k", "3", "-q"),
    ("neighbors", "out.jsonl", "-k", "3", "-q", "--method", "index"),
    ("duplicates", "--json", "-q"),
    ("evaluate", "--labels", "name", "--json", "-q"),
    ("info", "--json"),
    ("serve",),
)
ALWAYS = 1
"""So many of READING are part of each trial; another one is drawn."""

MENDING = (("index", "b.csv", "-q"), ("gc",))
VERIFY = ("verify", "--json")
CHANGING = re.compile(
    r'\\?"(bytes|generation|created|catalog|items_in_deltas|deltas|unused_vectors|bytes_per_vector|index_generation'
    r'|waiting_for_index|in_index_delta|dead_in_index|[a-z_]*second[a-z_]*|[a-z_]*recall[a-z_]*)\\?": ?[^,}]*'
)
"""What a store says of itself that is another after it was mended, though the answers are the same."""

SENTENCE = re.compile(r"visrec: \S.*")


def write_catalog(path, items):
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image", "name", "price", "in_stock", "code", "note", "angle"])
        for number in items:
            for angle in range(1 + (number % 5 == 0)):
                shown = number if angle == 0 else number + 200
                code, note = 2**60 + number % 7, ("", "new", "old", "42", "true")[number % 5]
                name = ("mug", "vase", "plate")[number % 3]
                stock = "true" if number % 4 else "false"
                row = [f"item{number:02}", f"images/{shown % 97}.png", name, number, stock, code, note, 90 * angle]
                table.writerow(row)


def make_store(process, place, kind):
    """Make a place with two catalogs, and a store of two generations, each of another one, and of a stopped run."""
    (place / "images").mkdir(parents=True)
    for number in range(97):
        (place / f"images/{number}.png").write_bytes(image(number))
    if kind in WITH_DELTAS:
        (place / "deltas").touch()
    write_catalog(place / "a.csv", range(COUNT))
    write_catalog(place / "b.csv", [number for number in range(COUNT + 4) if number not in (17, 40)])
    write_catalog(place / "c.csv", range(COUNT + 12))
    index_type = [] if kind == "tuned" else ["--index-type", kind]
    limited = ("embed", "c.csv", "--limit", "4", "-q", "--image-attribute", "angle")
    a, b = (("index", name, "-q", *index_type, "--image-attribute", "angle") for name in ("a.csv", "b.csv"))
    for result in run(process, place, [a, limited, b]):
        assert result["status"] == 0, result
    if kind == "tuned":
        matrix = np.random.default_rng(5).standard_normal((12, 6)).astype(np.float32)
        space = FakeEncoder().spec.fingerprint
        retune(place / "store", Projection(np.full(12, 0.2, np.float32), matrix, {"encoder": "fake", "space": space}))


def run(process, place, commands):
    """Run *commands* in *place* in one process; return what each did, and what ended the process if one did."""
    results = place / "results"
    named = [[*command, "--store", "store"] for command in commands]
    status = process.run(Order(("reading", json.dumps(named), str(results)), str(place), f"{place}.said"))
    done = [json.loads(line) for line in results.read_text().splitlines()]
    if len(done) < len(commands):
        command = list(commands[len(done)])
        done.append(
            {
                "command": command,
                "status": f"ends with {status}",
                "out": "",
                "err": Path(f"{place}.said.err").read_text(),
            }
        )
    return done


def answer_of(result, place):
    """Return what of *result* has to be equal, whenever it is asked."""
    if result["command"][0] == "neighbors":
        return (place / "out.jsonl").read_text()
    if result["command"][0] in ("evaluate", "embed"):  # which measure time
        return None
    return CHANGING.sub("", result["out"])


def difference(text, right):
    """Return where *text* and *right* begin to differ."""
    start = next((n for n, pair in enumerate(zip(text, right, strict=False)) if len(set(pair)) > 1), 0)
    return f"{text[max(0, start - 40) : start + 80]!r} and not {right[max(0, start - 40) : start + 80]!r}"


@pytest.fixture(scope="session")
def sound(process, tmp_path_factory):
    """The stores, the answers of each to READING, and the files that belong to its last generation.

    Each is made in the place of the trials, which the manifest names.
    """
    folder = tmp_path_factory.mktemp("sound")
    place, stores = folder / "trial", []
    for kind in STORES:
        make_store(process, place, kind)
        kept = shutil.copytree(place, folder / kind.replace(":", "-"))
        results = run(process, place, [*READING, VERIFY])
        assert [result["status"] for result in results] == [0] * len(results), results
        assert json.loads(results[-1]["out"])["sound"]
        answers = {tuple(result["command"]): answer_of(result, place) for result in results[:-1]}
        assert run(process, place, [("gc",)])[0]["status"] == 0
        stores.append(SimpleNamespace(kind=kind, kept=kept, answers=answers, own=set(files_of(place / "store"))))
        shutil.rmtree(place)
    return stores


class Trial:
    """One damage of one store, and what the commands then do."""

    def __init__(self, process, store, draw):
        self._process, self._store, self._draw = process, store, draw
        self._place = place = store.kept.with_name("trial")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(store.kept, place)
        names = sorted({re.sub(r"\w{16,}|\d+", "*", path) for path in files_of(place / "store")})
        name = draw.choice(names)
        path = draw.choice([path for path in files_of(place / "store") if re.sub(r"\w{16,}|\d+", "*", path) == name])
        self.damage = damage(place / "store", path, draw)

    def complaints(self):
        """Return what is wrong, in words."""
        if self.damage is None:
            return []
        reading = [*READING[:ALWAYS], self._draw.choice(READING[ALWAYS:])]
        found = run(self._process, self._place, [*reading, VERIFY])
        complaints = [*self._of_words(found)]
        if not (complaints or found[-1]["out"]):
            complaints = [f"verify refuses to look: {found[-1]['err']}"]
        if not complaints:
            problems = json.loads(found[-1]["out"])["problems"]
            complaints = [*self._of_verify(problems), *self._of_answers(found[:-1], sound=not problems)]
        if not complaints and problems:
            complaints = [*self._of_mending(reading, problems)]
        return [f"{self._store.kind}: {self.damage}: {complaint}" for complaint in complaints]

    @property
    def _loses_projection(self):
        """Whether only an older generation is left, or one without its projection."""
        lost = ("projections/", "generations/", "CURRENT")
        return self._store.kind == "tuned" and any(path.startswith(lost) for path in self.damage.paths)

    def _of_words(self, results):
        for result in results:
            status, err = result["status"], result["err"]
            command = " ".join(result["command"])
            if status not in (0, 1) or "Traceback" in err:
                yield f"{command}: {status} {err[-500:]}"
            elif status == 1 and not (err and SENTENCE.fullmatch(err.splitlines()[-1])):
                yield f"{command}: no sentence: {err!r}"
            elif "internal error" in result["out"]:
                yield f"{command}: {result['out']}"

    def _of_verify(self, problems):
        names = [Path(path).name for path in self.damage.paths]
        for problem in problems:
            if not any(f"store/{path}" in problem for path in self.damage.paths) and not any(
                str(Path(path).parent) in problem for path in self.damage.paths if "/" in path
            ):
                yield f"verify names another file than {names}: {problem}"

    def _of_answers(self, results, *, sound):
        for result in results:
            command = tuple(result["command"])
            if not sound:
                continue
            answer, right = answer_of(result, self._place), self._store.answers[command]
            if result["status"] != 0:
                yield f"{' '.join(command)} refuses, yet verify calls the store sound: {result['err']}"
            elif answer != right:
                yield f"{' '.join(command)} answers {difference(answer, right)}, yet verify calls the store sound"

    def _of_mending(self, reading, problems):
        found = run(self._process, self._place, [*self._advised(problems), VERIFY, *reading])
        complaints = [*self._of_words(found)]
        if complaints:
            yield from complaints
            return
        *mending, verified = found[: -len(reading)]
        refused = [result["err"] for result in [*mending, verified] if result["status"] != 0 and not result["out"]]
        if refused:
            yield f"cannot be mended by what verify advises, {problems}: {refused}"
            return
        left = json.loads(verified["out"])["problems"]
        if left:
            yield f"is not mended: {left}; index said {mending[0]['err']!r}"
        elif set(self.damage.paths) & self._store.own and not any(
            r["err"] or r["command"][0] == "tune" for r in mending
        ):
            yield f"was mended without a word: {problems}"
        elif not self._loses_projection:
            yield from self._of_answers(found[-len(reading) :], sound=True)

    def _advised(self, problems):
        """Do what *problems* advise, as far as it is done by hand, and return the commands that do the rest."""
        if any("remove store/CURRENT" in problem for problem in problems):
            (self._place / "store/CURRENT").unlink()
        undo = [("tune", "--undo")] if any("tune --undo" in problem for problem in problems) else []
        return [*undo, *MENDING]


def complaints(process, sound, seed, numbers):
    def of_trial(number):
        trial = Trial(process, sound[number % len(sound)], random.Random(f"{seed} {number}"))
        return [f"seed {seed}, trial {number}: {complaint}" for complaint in trial.complaints()]

    return complaints_about(numbers, of_trial)


def test_a_share_of_the_damages_gives_no_wrong_answer_without_a_word(process, sound):
    assert complaints(process, sound, 0, range(IN_CI)) == []
    assert complaints(process, sound, *FOUND_AT_NIGHT) == []


@pytest.mark.nightly
@pytest.mark.timeout(20_000)
def test_no_damage_gives_a_wrong_answer_without_a_word(process, sound):
    assert complaints(process, sound, seed(), part_of(range(NIGHTLY))) == []
