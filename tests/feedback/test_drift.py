"""A classifier tells new vectors from old ones where they differ, and only there; narrow encoders are seen as such."""

import numpy as np
import pytest

from vision_recs.feedback.drift import drift_of, health_of


def vectors(count, *, seed, shift=0.0, dim=8):
    found = np.random.default_rng(seed).normal(size=(count, dim)) + 1.0
    found[:, 0] += shift
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_equal_vectors_are_told_apart_as_often_as_a_coin_does():
    wrong = sum(drift_of(vectors(300, seed=seed), vectors(200, seed=900 + seed)).is_drift for seed in range(60))
    assert wrong <= 8  # 2.5 % of 60, with room for chance


def test_what_differs_is_seen_and_by_how_much():
    slight, large = (drift_of(vectors(400, seed=1), vectors(400, seed=2, shift=shift)) for shift in (0.5, 2.0))
    assert slight.is_drift
    assert large.is_drift
    assert slight.auc < large.auc
    assert slight.low < slight.auc < slight.high
    assert (large.old, large.new) == (400, 400)
    none = drift_of(vectors(400, seed=1), vectors(19, seed=2, shift=2.0))
    assert none is None


def test_the_auc_is_that_of_the_best_line():
    random = np.random.default_rng(3)
    old = np.stack([random.normal(size=2_000), random.normal(size=2_000) * 5], axis=1).astype(np.float32)
    new = old[::-1] + np.array([1.0, 0.0], np.float32)
    assert drift_of(old, new).auc == pytest.approx(0.76, abs=0.02)  # of two normal distributions, 1 apart


def test_health_tells_a_narrow_encoder():
    wide, narrow = np.eye(16, dtype=np.float32), vectors(400, seed=1, dim=16) * 0.01 + np.float32(1)
    assert health_of(wide).mean_cosine == pytest.approx(0.0)
    assert health_of(wide).dimensions == pytest.approx(15.0)
    narrow /= np.linalg.norm(narrow, axis=1, keepdims=True)
    assert health_of(narrow).mean_cosine > 0.99
    line = np.linspace(0, 1, 50)[:, None] * np.eye(16, dtype=np.float32)[0] + np.eye(16, dtype=np.float32)[1]
    assert health_of(line.astype(np.float32)).dimensions == pytest.approx(1.0)
