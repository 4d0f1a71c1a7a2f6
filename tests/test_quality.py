"""How good the default encoder's neighbors are, on real photos, end to end."""

from __future__ import annotations

import csv
import json

import numpy as np

import vision_recs


def test_neighbors_of_real_photos_are_of_the_same_category(visrec, clothing, tmp_path):
    """Leave one out: an independent script measured 78.5 % for the nearest item and 72.2 % for the ten nearest."""
    store = tmp_path / "index"
    report = json.loads(visrec("index", clothing, "--store", store, "--json", "--quiet").stdout)
    assert (report["items"], report["skipped"], report["embedded"]) == (1885, 0, 1885)
    with clothing.open(newline="") as file:
        category = {row["id"]: row["category"] for row in csv.DictReader(file)}
    shop = vision_recs.open(store)
    right = np.array(
        [
            [category[match.id] == own and match.attributes["category"] == own for match in shop.similar(item, k=10)]
            for item, own in category.items()
        ]
    )
    assert right[:, 0].mean() >= 0.78
    assert right.mean() >= 0.71
    again = json.loads(visrec("index", clothing, "--store", store, "--json", "--quiet").stdout)
    assert (again["embedded"], again["reused"], again["generation"]) == (0, 1885, 1)
