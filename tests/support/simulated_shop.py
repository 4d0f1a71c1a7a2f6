"""A shop whose shoppers have a hidden taste: they look at places less and less, and click on what they like.

The log-odds of a click on an item that is looked at are a taste that no feature explains in full (three kinds of
shoppers, each with a linear map of the vectors), the attributes, the appeal of the item, and effects of single pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vision_recs.feedback.counts import Counts
from vision_recs.feedback.logged import LoggedAnswers, Shape

K = 10
KINDS = 3


@dataclass(frozen=True)
class Goods:
    """What the shop sells: vectors (n, dim) of unit length, and attributes by name (n,)."""

    vectors: np.ndarray
    attributes: dict[str, np.ndarray]

    @property
    def ids(self):
        return tuple(f"item{number:05}" for number in range(len(self.vectors)))

    def attributes_of(self, items):
        names = self.attributes
        return {item: {name: names[name][int(item[4:])].item() for name in names} for item in items}


def random_goods(count, *, seed=0, dim=16):
    """Return random goods in clusters, with a type, a color and a price."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 8, count)
    vectors = random.normal(size=(8, dim))[kinds] + 0.7 * random.normal(size=(count, dim))
    return Goods(
        (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        {
            "type": np.array([f"type{kind}" for kind in kinds]),
            "color": np.array([f"color{color}" for color in random.integers(0, 5, count)]),
            "price": np.round(np.exp(random.normal(3, 0.6, count)), 2),
        },
    )


class SimulatedShop:
    """Draws queries and clicks; knows the true value of every order of its pools."""

    def __init__(self, goods, *, seed=0, pool=40, cascade=False, nothing_to_learn=False):
        self.goods, self.cascade, self.width = goods, cascade, pool
        random = np.random.default_rng(seed)
        similarity = goods.vectors @ goods.vectors.T
        np.fill_diagonal(similarity, -2)
        self.pool = np.argsort(-similarity, axis=1, kind="stable")[:, :pool]
        self.scores = np.take_along_axis(similarity, self.pool, axis=1).astype(np.float64)
        self.count = len(self.pool)
        self.examination = 1.0 / np.arange(1, K + 1) ** 0.8
        odds = self._odds(random)
        if nothing_to_learn:
            odds = [np.zeros_like(each) for each in odds]
        self.clicked = self._scaled(odds, 0.1)
        self.mean = np.mean(self.clicked, axis=0)
        weight = 1.0 / np.arange(1, self.count + 1) ** 0.9
        self.traffic = random.permutation(weight / weight.sum())
        self.random = np.random.default_rng(1_000 + seed)

    def _odds(self, random):
        def taste():
            stretched = self.goods.vectors * np.exp(random.normal(0, 0.8, self.goods.vectors.shape[1]))
            stretched /= np.linalg.norm(stretched, axis=1, keepdims=True)
            liked = np.take_along_axis(stretched @ stretched.T, self.pool, axis=1)
            return (liked - liked.mean()) / liked.std()

        shape = self.pool.shape
        fixed = random.normal(0, 0.6, self.count)[self.pool]
        fixed = fixed + random.normal(0, 0.9, shape) * (random.random(shape) < 0.1)
        for name, column in self.goods.attributes.items():
            if column.dtype.kind == "U":
                fixed = fixed + (0.5 if name == "type" else 0.2) * (column[self.pool] == column[:, None])
            else:
                fixed = fixed - 0.5 * np.abs(np.log(column)[self.pool] - np.log(column)[:, None])
        main = taste()
        return [0.7 * (0.8 * main + 0.6 * taste()) + fixed for _ in range(KINDS)]

    def _scaled(self, odds, clicks_an_answer):
        low, high = -14.0, 3.0
        for _ in range(40):
            middle = (low + high) / 2
            clicked = [1 / (1 + np.exp(-(each + middle))) for each in odds]
            plain = np.mean([each[:, :K] for each in clicked], axis=0) * self.examination
            low, high = (middle, high) if plain.sum(axis=1).mean() < clicks_an_answer else (low, middle)
        return np.array(clicked)

    def value(self, order):
        """Return the clicks an answer of showing the pools in *order* (n, width); by simulation in a cascade."""
        if self.cascade:
            asked = np.random.default_rng(3).choice(self.count, 400_000, p=self.traffic)
            return float(self._cascade(asked, order[asked, :K], np.random.default_rng(4)).sum(axis=1).mean())
        shown = np.take_along_axis(self.mean, order[:, :K], axis=1)
        return float(self.traffic @ (shown * self.examination).sum(axis=1))

    def best_order(self):
        return np.argsort(-self.mean, axis=1, kind="stable")

    def plain_order(self):
        return np.tile(np.arange(self.width), (self.count, 1))

    def queries(self, count):
        return self.random.choice(self.count, count, p=self.traffic)

    def clicks(self, asked, shown):
        """Return which of the pool's columns *shown* (answers, K) are clicked: 0 or 1."""
        if self.cascade:
            return self._cascade(asked, shown, self.random)
        kind = self.random.integers(0, KINDS, len(asked))
        rate = self.clicked[kind[:, None], asked[:, None], shown] * self.examination
        return (self.random.random(shown.shape) < rate).astype(np.float64)

    def _cascade(self, asked, shown, random):
        """Shoppers go from place to place; they leave with 12 % after each, and always after a click."""
        kind = random.integers(0, KINDS, len(asked))
        rate = self.clicked[kind[:, None], asked[:, None], shown]
        found, stays = np.zeros(shown.shape), np.ones(len(asked), bool)
        for place in range(shown.shape[1]):
            hit = stays & (random.random(len(asked)) < rate[:, place])
            found[:, place] = hit
            stays &= ~hit & (random.random(len(asked)) > 0.12)
        return found


@dataclass
class Log:
    """Answers of a simulated shop as arrays: *order* (n, width) is that of the pool, *at* (n, width) where it was."""

    asked: np.ndarray
    order: np.ndarray
    weights: np.ndarray
    at: np.ndarray
    clicked: np.ndarray
    shopper: np.ndarray
    share: float

    @classmethod
    def joined(cls, logs):
        names = ("asked", "order", "weights", "at", "clicked", "shopper")
        return cls(*(np.concatenate([getattr(log, name) for log in logs]) for name in names), logs[0].share)


def serve(shop, order, answers, *, share=0.3, weights=None):
    """Return the log of some *answers*, whose pools are in *order* (items, width) and explore one place.

    Each shopper has two answers or so.
    """
    asked = shop.queries(answers)
    ranking = order[asked]
    chances = (
        np.ones((answers, shop.width - K)) if weights is None else np.take_along_axis(weights[asked], ranking, 1)[:, K:]
    )
    chances = chances / chances.sum(axis=1, keepdims=True)
    explores = shop.random.random(answers) < share
    slot = shop.random.integers(0, K, answers)
    tried = np.minimum(
        (np.cumsum(chances, axis=1) < shop.random.random(answers)[:, None]).sum(axis=1), shop.width - K - 1
    )
    place = np.tile(np.arange(shop.width), (answers, 1))
    place[:, K:] = -1
    rows = np.flatnonzero(explores)
    place[rows] = np.where(place[rows] >= slot[rows, None], place[rows] + 1, place[rows])
    place[place >= K] = -1
    place[rows, K + tried[rows]] = slot[rows]
    shown = np.zeros((answers, K), np.int64)
    row, column = np.nonzero(place >= 0)
    shown[row, place[row, column]] = ranking[row, column]
    clicks = shop.clicks(asked, shown)
    clicked = np.zeros(place.shape)
    clicked[row, column] = clicks[row, place[row, column]]
    shopper = shop.random.integers(0, max(1, answers // 2), answers)
    padded = np.concatenate([np.zeros((answers, K)), chances], axis=1)
    return Log(asked, ranking, padded, place, clicked, shopper, share)


def half_of_shopper(shopper):
    return ((shopper * 2_654_435_761) >> 7 & 1).astype(np.int8)


def counts_of(shop, log):
    """Return the counts of *log*."""
    row, column = np.nonzero(log.at >= 0)
    shown = shop.pool[log.asked[row], log.order[row, column]]
    half = half_of_shopper(log.shopper)[row]
    parts = (half.astype(np.int64), log.asked[row], shown, log.at[row, column])
    sizes = (2, shop.count, shop.count, K)
    keys, of = np.unique(np.ravel_multi_index(parts, sizes), return_inverse=True)
    keys = np.unravel_index(keys, sizes)
    impressions = np.bincount(of).astype(np.float64)
    scores = shop.scores[log.asked[row], log.order[row, column]]
    return Counts(
        shop.goods.ids,
        keys[0].astype(np.int8),
        *keys[1:],
        impressions,
        np.bincount(of, log.clicked[row, column]),
        np.bincount(of, scores) / impressions,
        np.bincount(of, shop.scores[log.asked[row], 0]) / impressions,
    )


def answers_of(shop, log):
    """Return *log* as logged answers."""
    scores = shop.scores[log.asked[:, None], log.order]
    shape = Shape(K, (), tuple(range(K)), log.share)
    return LoggedAnswers(
        items=shop.goods.ids,
        shapes=(shape,),
        shopper=log.shopper,
        half=half_of_shopper(log.shopper),
        arm=np.full(len(log.asked), "plain"),
        asked=log.asked,
        shape=np.zeros(len(log.asked), np.int64),
        pool=shop.pool[log.asked[:, None], log.order],
        scores=scores,
        base=scores,
        chances=log.weights,
        at=log.at,
        clicked=log.clicked,
    )
