"""How good the default encoder's neighbors are, on real photos, end to end."""

from __future__ import annotations

import csv
import json

import numpy as np

import vision_recs


def test_neighbors_of_real_photos_are_of_the_same_category(visrec, clothing, clothing_store):
    """Leave one out: an independent script measured 78.5 % for the nearest item and 72.2 % for the ten nearest."""
    with clothing.open(newline="") as file:
        category = {row["id"]: row["category"] for row in csv.DictReader(file)}
    shop = vision_recs.open(clothing_store)
    right = np.array(
        [
            [category[match.id] == own and match.attributes["category"] == own for match in shop.similar(item, k=10)]
            for item, own in category.items()
        ]
    )
    assert right[:, 0].mean() >= 0.78
    assert right.mean() >= 0.71
    catalog = clothing_store.with_name("catalog.csv")
    again = json.loads(visrec("index", catalog, "--store", clothing_store, "--json", "--quiet").stdout)
    assert (again["items"], again["skipped"], again["embedded"], again["reused"]) == (1885, 0, 0, 1885)
    assert again["generation"] == 1
