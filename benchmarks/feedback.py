"""What learning from shoppers brings, and whether what is said about it is true: by simulation, and on a real log.

python benchmarks/feedback.py [--parts learning,gate] [--runs 100]        (in an environment where visrec is installed)

The items are real: the images of ../shared/data/clothing where they are there, else sample_images/. What shoppers like
is hidden and assumed (`tests/support/simulated_shop.py`), so trust the order of the rows and whether bounds hold, not
the size of the gain. The Open Bandit logs are real; they lie in the wheel obp-0.4.1, which pip downloads. Each part
prints its result and writes it into feedback.json beside this file, under its name, with what it was run with.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter

import numpy as np
from machine import provenance

import vision_recs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import simulated_shop as sim  # noqa: E402 - after its folder is known

from vision_recs.feedback.anytime import difference_at_any_time  # noqa: E402
from vision_recs.feedback.counts import Counts  # noqa: E402
from vision_recs.feedback.features import Columns, Features  # noqa: E402
from vision_recs.feedback.fitting import fit  # noqa: E402
from vision_recs.feedback.learning import Catalog, CrossFitted, cross_fitted, learn  # noqa: E402
from vision_recs.feedback.model import MOST_MOVED, Learned  # noqa: E402
from vision_recs.feedback.value import estimate, mean_over_shoppers  # noqa: E402
from vision_recs.store import Store, load_item_vectors  # noqa: E402

OUTPUT = Path(__file__).with_suffix(".json")
CLOTHING = ROOT.parent / "shared" / "data" / "clothing" / "catalog.csv"
A_DAY = 10_000
K = sim.K


def goods_of(catalog: Path) -> sim.Goods:
    """Return the items of *catalog* with their vectors; colors and prices are drawn where it has none."""
    with tempfile.TemporaryDirectory() as folder:
        vision_recs.embed(catalog, folder)
        with Store.open(folder) as store:
            items = load_item_vectors(store, store.ids())
            known = store.attributes_of(items.ids)
    vectors = np.add.reduceat(items.vectors, items.starts, axis=0)
    random = np.random.default_rng(0)
    count = len(items.ids)
    types = [str(known[item].get("category")) for item in items.ids]
    prices = [known[item].get("price") for item in items.ids]
    drawn = np.round(np.exp(random.normal(3, 0.6, count)), 2)
    attributes = {
        "type": np.array(types),
        "color": np.array([str(known[item].get("color") or random.integers(0, 8)) for item in items.ids]),
        "price": np.array([float(price or other) for price, other in zip(prices, drawn.tolist(), strict=True)]),
    }
    return sim.Goods(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), attributes)


@dataclass(frozen=True)
class Run:
    """How much is tried: *runs* of each experiment, *days* and *seeds* of learning, and so on."""

    runs: int = 100
    days: int = 21
    seeds: int = 3
    days_of_new_items: int = 25
    counts: int = 10**7
    queries: int = 2_000


@dataclass
class Sums:
    """All counts so far, by half, item asked for, column of the pool and place."""

    shop: sim.SimulatedShop
    seen: np.ndarray = field(init=False)
    clicked: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.shape = (2, self.shop.count, self.shop.width, K)
        self.seen, self.clicked = np.zeros(np.prod(self.shape)), np.zeros(np.prod(self.shape))

    def add(self, log: sim.Log) -> None:
        """Add the answers of *log*."""
        row, column = np.nonzero(log.at >= 0)
        half = sim.half_of_shopper(log.shopper)[row].astype(np.int64)
        cell = np.ravel_multi_index((half, log.asked[row], log.order[row, column], log.at[row, column]), self.shape)
        self.seen += np.bincount(cell, minlength=len(self.seen))
        self.clicked += np.bincount(cell, log.clicked[row, column], len(self.clicked))

    def counts(self) -> Counts:
        """Return them as counts."""
        rows = np.flatnonzero(self.seen)
        half, asked, column, place = np.unravel_index(rows, self.shape)
        shop = self.shop
        score, best = shop.scores[asked, column], shop.scores[asked, 0]
        shown = shop.pool[asked, column]
        order = np.lexsort((place, shown, asked, half))
        parts = (half.astype(np.int8), asked, shown, place, self.seen[rows], self.clicked[rows], score, best)
        return Counts(shop.goods.ids, *(part[order] for part in parts))


class Learner:
    """Learns for a simulated shop, day by day."""

    def __init__(self, shop: sim.SimulatedShop, *, features_only: bool = False, most: float = MOST_MOVED) -> None:
        """Begin with the plain order."""
        self.shop, self.most, self.features_only = shop, most, features_only
        self.sums = Sums(shop)
        goods = shop.goods
        known = goods.attributes_of(goods.ids)
        features = Features.of(known)
        self.catalog = Catalog(goods.ids, features, Columns.of(features, [known[item] for item in goods.ids]))
        self.order = shop.plain_order()
        self.weights: np.ndarray | None = None

    def learn(self, log: sim.Log) -> None:
        """Learn from one more day."""
        self.sums.add(log)
        model = self.catalog.model(self.sums.counts())
        clicks = self.expected(model)
        if self.features_only:
            plain = np.ones_like
            fitted = model.fitted
            flat = type(fitted)(
                **{
                    **vars(fitted),
                    "item_factors": plain(fitted.item_factors),
                    "pair_factors": plain(fitted.pair_factors),
                }
            )
            clicks = self.expected(Learned(model.features, flat, model.items))
        deltas = model.deltas(clicks, self.shop.scores, most=self.most)
        self.order = np.argsort(-(self.shop.scores + deltas), axis=1, kind="stable")
        self.weights = model.trying_weights(self.shop.goods.ids)[self.shop.pool]

    def expected(self, model: Learned) -> np.ndarray:
        """Return the clicks that *model* expects of each pair of the shop (items, width)."""
        shop = self.shop
        asked = np.repeat(np.arange(shop.count), shop.width)
        shown, score = shop.pool.ravel(), shop.scores.ravel()
        best = np.repeat(shop.scores[:, 0], shop.width)
        columns = self.catalog.columns
        inputs = model.features.matrix(columns.take(asked), columns.take(shown), score, best)
        return model.clicks(asked, shown, inputs).reshape(shop.pool.shape)


KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "features only": {"features_only": True, "share": 0.3},
    "full model, not exploring": {"share": 0.0},
    "full and one place": {"share": 0.3},
    "full and one place, moved without a bound": {"share": 0.3, "most": 10.0},
}


def learning(goods: sim.Goods, run: Run) -> object:
    """Return clicks an answer, against plain ones, of each kind of learning, by day 2 and by weeks."""
    found: dict[str, object] = {"days": run.days, "seeds": run.seeds, "answers a day": A_DAY}
    rows: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    best = []
    for seed in range(run.seeds):
        for kind, how in KINDS.items():
            shop = sim.SimulatedShop(goods, seed=seed)
            plain = shop.value(shop.plain_order())
            rows[kind].append(np.array(_days(shop, kind, how, run.days)) / plain - 1)
        best.append(shop.value(shop.best_order()) / plain - 1)
    for kind, gains in rows.items():
        mean = np.mean(gains, axis=0)
        weeks = {f"week {week + 1}": mean[7 * week : 7 * week + 7].mean() for week in range(len(mean) // 7)}
        found[kind] = {name: round(float(gain), 3) for name, gain in {"day 2": mean[1], **weeks}.items()}
    found["all-knowing order"] = round(float(np.mean(best)), 3)
    return found


def _days(shop: sim.SimulatedShop, kind: str, how: dict[str, object], days: int) -> list[float]:
    share = float(str(how.get("share", 0.0)))
    learner = Learner(shop, features_only=bool(how.get("features_only")), most=float(str(how.get("most", MOST_MOVED))))
    found = []
    for _ in range(days):
        log = sim.serve(shop, learner.order, A_DAY, share=share, weights=learner.weights)
        row, column = np.nonzero(log.at >= 0)
        liked = shop.mean[log.asked[row], log.order[row, column]] * shop.examination[log.at[row, column]]
        found.append(float(liked.sum()) / A_DAY)
        if kind != "plain":
            learner.learn(log)
    return found


def gate(goods: sim.Goods, run: Run) -> object:
    """Return how often a model is published after 70,000 answers, where there is something to learn and where not."""
    found: dict[str, object] = {"runs": run.runs, "answers": 70_000}
    for name, nothing in (("nothing to learn", True), ("the shop", False)):
        better, gains = 0, []
        shops = [sim.SimulatedShop(goods, seed=seed, nothing_to_learn=nothing) for seed in range(run.seeds)]
        for number in range(run.runs):
            shop = shops[number % run.seeds]
            shop.random = np.random.default_rng(5_000 + number)
            log = sim.serve(shop, shop.plain_order(), 70_000)
            report = learn(sim.counts_of(shop, log), sim.answers_of(shop, log), goods)
            better += report.is_better
            judged = report.judged
            gains.append(judged.difference.value / judged.plain.value if judged else 0.0)
        found[name] = {"published": better, "estimated gain": round(float(np.mean(gains)), 3)}
    return found


def off_policy(goods: sim.Goods, run: Run, *, cascade: bool = False) -> object:
    """Return, for three targets, how often the bounds hold the truth, and by how much estimates are off."""
    answers = 100_000
    shop = sim.SimulatedShop(goods, seed=7, cascade=cascade)
    learner = Learner(shop)
    before, early = [], None  # five days, the first of which was plain
    for day in range(12):
        before.append(sim.serve(shop, learner.order, A_DAY, weights=learner.weights))
        learner.learn(before[-1])
        early = (learner.order, learner.weights) if day == 4 else early  # noqa: PLR2004 - after five days
    order, weights = early or (learner.order, learner.weights)
    targets = {"logged, not exploring": order, "learned for 12 days": learner.order, "plain": shop.plain_order()}
    truth = {name: shop.value(each) for name, each in targets.items()}
    estimates: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in targets}
    for _ in range(run.runs):
        log = sim.serve(shop, order, answers, weights=weights)
        counts = sim.counts_of(shop, sim.Log.joined([*before[:5], log]))  # of all days, as `visrec replay` reads them
        crossed = cross_fitted(counts, sim.answers_of(shop, log), learner.catalog)
        for name, target in targets.items():
            estimates[name].append(_estimated(shop, target, crossed or []))
    found: dict[str, object] = {"runs": run.runs, "answers": answers, "cascade": cascade}
    for name, rows in estimates.items():
        value, low, high, effective = np.array(rows).T
        found[name] = {
            "truth": round(truth[name], 5),
            "bias": round(float(value.mean() / truth[name] - 1), 4),
            "bounds hold": int(((low <= truth[name]) & (truth[name] <= high)).sum()),
            "half width": round(float((high - low).mean() / 2 / truth[name]), 4),
            "effective answers": round(float(effective.mean())),
        }
    return found


def _estimated(
    shop: sim.SimulatedShop, target: np.ndarray, crossed: list[CrossFitted]
) -> tuple[float, float, float, float]:
    """Return the value of *target* with its bounds, and the effective answers, as `replay` does."""
    estimates = []
    for part in crossed:
        answers, looked = part.answers, part.model.fitted.examination
        wanted = np.take_along_axis(shop.pool, target, axis=1)[answers.asked]
        columns = np.take_along_axis(np.argsort(answers.pool, axis=1), np.argsort(np.argsort(wanted)), axis=1)
        estimates.append(estimate(answers, answers.showing(columns, looked), part.clicks, looked))
    by_answer = np.concatenate([each.by_answer for each in estimates])
    value = mean_over_shoppers(by_answer, np.concatenate([part.answers.shopper for part in crossed]))
    return value.value, value.low, value.high, sum(each.effective for each in estimates)


def new_items(goods: sim.Goods, run: Run) -> object:
    """Return how many of the items in 20 pools a day have under 30 impressions after 25 days."""
    found: dict[str, object] = {"days": run.days_of_new_items}
    for name, share in (("not exploring", 0.0), ("one place", 0.3)):
        shop = sim.SimulatedShop(goods, seed=1)
        learner = Learner(shop)
        seen = np.zeros(shop.count)
        reach = np.bincount(shop.pool.ravel(), np.repeat(shop.traffic, shop.width), shop.count) * A_DAY
        for _ in range(run.days_of_new_items):
            log = sim.serve(shop, learner.order, A_DAY, share=share, weights=learner.weights)
            row, column = np.nonzero(log.at >= 0)
            seen += np.bincount(shop.pool[log.asked[row], log.order[row, column]], minlength=shop.count)
            learner.learn(log)
        fair = reach >= 20  # noqa: PLR2004 - pools a day
        found[name] = {"items": int(fair.sum()), "under 30 impressions": round(float((seen[fair] < 30).mean()), 4)}  # noqa: PLR2004
    return found


def looking_daily(_: sim.Goods, run: Run) -> object:
    """Return how often equal arms seem to differ on one of 28 days: by bounds for one look, and by those for any."""
    runs = 30 * run.runs
    random = np.random.default_rng(1)
    once = always = 0
    for _run in range(runs):
        one, other = (random.poisson(0.1 * A_DAY / 2, 28).cumsum() for _arm in range(2))
        answers = np.arange(1, 29) * A_DAY / 2
        differences = [
            difference_at_any_time((a / n, a / n**2), (b / n, b / n**2))
            for a, b, n in zip(one.tolist(), other.tolist(), answers.tolist(), strict=True)
        ]
        always += any(each.is_significant for each in differences)
        once += bool((np.abs(other - one) / np.sqrt(one + other) > 1.96).any())  # noqa: PLR2004 - two-sided, 95 %
    return {"runs": runs, "by bounds for one look": once / runs, "by bounds that always hold": always / runs}


def open_bandit(_: sim.Goods, run: Run) -> object:  # noqa: ARG001 - one size
    """Return the value of each logged policy of the Open Bandit logs, estimated from the log of the other."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, "obp==0.4.1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            return {"skipped": f"the wheel cannot be had: {done.stderr.strip().splitlines()[-1:]}"}
        with zipfile.ZipFile(wheels[0]) as wheel:
            logs = {}
            for name in wheel.namelist():
                if name.endswith(".csv") and "/dataset/obd/" in name and "item_context" not in name:
                    policy, campaign = name.split("/")[-3:-1]
                    text = io.TextIOWrapper(wheel.open(name), encoding="utf-8")
                    logs[campaign, policy] = _bandit_log(list(csv.DictReader(text)))
    rows = {}
    for campaign in sorted({campaign for campaign, _ in logs}):
        for target, source in (("bts", "random"), ("random", "bts")):
            rows[f"{campaign}: {target} from {source}"] = _bandit_row(logs[campaign, source], logs[campaign, target])
    return rows


def _bandit_log(rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    names = {"item_id": np.int64, "position": np.int64, "click": np.float64, "propensity_score": np.float64}
    return {name: np.array([float(row[name]) for row in rows]).astype(kind) for name, kind in names.items()}


def _bandit_row(log: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> object:
    """Return the doubly robust value of the policy of *other*, from *log*, and the clicks that it had itself."""
    items = int(max(log["item_id"].max(), other["item_id"].max())) + 1
    places = log["position"] - 1
    sums, times = np.zeros((items, 3)), np.zeros((items, 3))
    np.add.at(sums, (other["item_id"], other["position"] - 1), other["propensity_score"])
    np.add.at(times, (other["item_id"], other["position"] - 1), 1)
    target = np.divide(sums, times, out=np.zeros_like(sums), where=times > 0)
    target /= target.sum(axis=0)
    item, click = log["item_id"], log["click"]
    value = (np.bincount(item, click, items) + 2 * click.mean()) / (np.bincount(item, minlength=items) + 2)
    weight = target[item, places] / log["propensity_score"]
    parts = (target * value[:, None]).sum(axis=0)[places] + weight * (click - value[item])
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    half, truth = 1.96 * parts.std() / np.sqrt(len(parts)), other["click"].mean()
    own = 1.96 * other["click"].std() / np.sqrt(len(other["click"]))
    return {
        "estimate": round(float(parts.mean()), 5),
        "half width": round(float(half), 5),
        "had": round(float(truth), 5),
        "half width of that": round(float(own), 5),
        "effective answers": round(effective),
        "refused": effective < 500,  # noqa: PLR2004 - as in vision_recs.feedback.value
        "agrees": bool(abs(parts.mean() - truth) <= np.hypot(half, own)),
    }


def size(_: sim.Goods, run: Run) -> object:
    """Return how long a model of many counts takes, and how much memory."""
    import resource

    rows = run.counts
    random = np.random.default_rng(0)
    items = 100_000
    asked, shown = random.integers(0, items, rows // 5), random.integers(0, items, rows // 5)
    asked, shown = np.repeat(asked, 5), np.repeat(shown, 5)
    place = np.tile(np.arange(5), rows // 5)
    half = random.integers(0, 2, rows).astype(np.int8)
    seen = random.integers(1, 50, rows).astype(np.float64)
    clicked = random.binomial(seen.astype(np.int64), 0.02).astype(np.float64)
    score = np.repeat(random.random(rows // 5), 5)
    counts = Counts(tuple(map(str, range(items))), half, asked, shown, place, seen, clicked, score, np.ones(rows))
    kinds = {"kind": random.integers(0, 20, items)}
    features = Features(("kind",))
    begun = perf_counter()
    fit(counts, features, Columns(kinds, {}))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"counts": rows, "seconds": round(perf_counter() - begun, 1), "GB with all else": round(memory, 2)}


def serving(_: sim.Goods, run: Run) -> object:
    """Return what learning, exploring and keeping cost a query by id over HTTP, and how many events a worker takes.

    Items are asked for as in shops, the one of rank r in proportion to r ** -0.9, and then each alike, where most
    answers are chosen anew. Processor times are those of the servers; the machine may be busy with other work.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ids = _made_store(root / "store", 5_000)
        (root / "plain.toml").write_text("one_per = false\n")
        (root / "learn.toml").write_text("one_per = false\n[learn]\nexplore = 0.3\nshare = 1\n")
        common = ("--store", root / "store", "--port", "0")
        kept = ("--events", root / "events", "--rules", root / "learn.toml")
        with _served(*common, "--rules", root / "plain.toml") as plain, _served(*common, *kept) as learning:
            servers = {"plain": plain, "learning and keeping": learning}
            popular = 1.0 / np.arange(1, len(ids) + 1) ** 0.9
            found: dict[str, object] = {"items": len(ids), "queries": run.queries}
            for name, chances in (("popular items more often", popular / popular.sum()), ("each item alike", None)):
                found[name] = _asked(servers, ids, chances, run.queries)
            used = learning.processor_seconds()
            events, seconds = _events(learning.port, ids)
            used = learning.processor_seconds() - used
    found |= {"events a second": round(events / seconds), "events a second of processor time": round(events / used)}
    return found


def _asked(servers: dict[str, Server], ids: list[str], chances: np.ndarray | None, queries: int) -> dict[str, object]:
    """Ask both *servers* in turn for items, each by its *chances*; a third of the queries is not counted."""
    random = np.random.default_rng(0)
    picks = random.permutation(len(ids))[random.choice(len(ids), queries, p=chances)]
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    used = dict.fromkeys(servers, 0.0)
    for number, pick in enumerate(picks.tolist()):
        if number == queries // 3:
            used = {name: -server.processor_seconds() for name, server in servers.items()}
        for name, server in servers.items():
            shopper = "" if name == "plain" else f"&shopper=s{number}"
            begun = perf_counter()
            _get(server.port, f"/v1/similar?id={ids[pick]}{shopper}")
            seconds[name].append(perf_counter() - begun)
    counted = queries - queries // 3
    each = {name: 1e3 * (used[name] + server.processor_seconds()) / counted for name, server in servers.items()}
    at = {name: np.percentile(values[queries // 3 :], [50, 99]) * 1e3 for name, values in seconds.items()}
    ratios = at["learning and keeping"] / at["plain"]
    return {
        **{f"{name}, ms": {"median": round(own[0], 3), "p99": round(own[1], 3)} for name, own in at.items()},
        "times as long": {"median": round(float(ratios[0]), 3), "p99": round(float(ratios[1]), 3)},
        **{f"{name}, ms of processor time": round(own, 3) for name, own in each.items()},
        "times as much processor time": round(each["learning and keeping"] / each["plain"], 3),
    }


def _made_store(store: Path, count: int) -> list[str]:
    """Make a store of *count* items of random pixels, with a model that knows them all, and return their ids."""
    import fake_shop

    from vision_recs.feedback.fitting import Fitted
    from vision_recs.jobs import publish_model

    shop = fake_shop.shop_of(count)
    fake_shop.index(shop, store, shard_size=count)
    ids, none = sorted(shop.items), np.empty(0, np.int64)
    factors = np.exp(np.random.default_rng(1).normal(0, 0.5, count))
    fitted = Fitted(
        np.zeros(2), np.ones(2), np.zeros(2), -3.0, np.ones(10), 10.0, factors, np.ones(count), none, none, np.empty(0)
    )
    publish_model(store, Learned(Features(), fitted, tuple(ids)).to_bytes())
    return ids


@dataclass(frozen=True)
class Server:
    """A server with a *port*, whose first process is *pid*."""

    port: int
    pid: int

    def processor_seconds(self) -> float:
        """Return the processor time of all its processes so far."""
        return sum(_ticks(pid) for pid in _family(self.pid)) / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    """Return *pid* and all processes below it."""
    children = [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *(each for child in children for each in _family(int(child)))]


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def _served(*arguments: object) -> Iterator[Server]:
    """Run `visrec serve`, and yield it."""
    command = [str(Path(sys.executable).parent / "visrec"), "serve", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = "" if process.stdout is None else process.stdout.readline()
        yield Server(int(said.split()[2].rsplit(":", 1)[1]), process.pid)
        process.terminate()


_CONNECTIONS: dict[int, HTTPConnection] = {}


def _get(port: int, path: str) -> None:
    connection = _CONNECTIONS.setdefault(port, HTTPConnection("127.0.0.1", port))
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    if response.status != 200:  # noqa: PLR2004 - HTTP
        raise SystemExit(f"{path}: {response.status}")


def _events(port: int, ids: list[str], *, seconds: float = 5.0, clients: int = 8) -> tuple[int, float]:
    """Return how many events are acknowledged, which *clients* send fifty at a time, and in how many seconds."""

    def send(client: int) -> int:
        connection, done, until = HTTPConnection("127.0.0.1", port), 0, perf_counter() + seconds
        while perf_counter() < until:
            events = [
                {"type": "click", "item": ids[each % len(ids)], "shopper": f"s{client}", "id": f"{client} {each}"}
                for each in range(done, done + 50)
            ]
            connection.request("POST", "/v1/events", json.dumps({"events": events}), {"content-type": "text/plain"})
            done += json.loads(connection.getresponse().read())["recorded"]
        return done

    begun = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(send, range(clients))), perf_counter() - begun


PARTS: dict[str, Callable[..., object]] = {
    "learning": learning,
    "gate": gate,
    "off-policy": off_policy,
    "off-policy in a cascade": lambda goods, run: off_policy(goods, run, cascade=True),
    "new items": new_items,
    "looking daily": looking_daily,
    "open bandit": open_bandit,
    "size": size,
    "serving": serving,
}
WITHOUT_GOODS = {"looking daily", "open bandit", "size", "serving"}
"""The parts that need no catalog, which takes a minute to be embedded."""


def main() -> None:
    """Run the parts that are named, and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="names, separated by commas")
    for name, value in asdict(Run()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument(
        "--catalog", type=Path, default=CLOTHING if CLOTHING.exists() else ROOT / "sample_images/catalog.csv"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    names = options.parts.split(",")
    goods = sim.Goods(np.empty((0, 1)), {}) if WITHOUT_GOODS.issuperset(names) else goods_of(options.catalog)
    run = Run(**{name: getattr(options, name) for name in asdict(Run())})
    for name in names:
        begun = perf_counter()
        found = PARTS[name](goods, run)
        seconds = round(perf_counter() - begun, 1)
        of_goods = {} if name in WITHOUT_GOODS else {"items": len(goods.ids), "catalog": options.catalog.parent.name}
        entry = {"found": found, **of_goods, "seconds": seconds}
        print(json.dumps({name: entry}, indent=1), flush=True)
        results = json.loads(options.output.read_text("utf-8")) if options.output.exists() else {}
        results[name] = entry
        results["provenance"] = provenance("numpy")
        options.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
