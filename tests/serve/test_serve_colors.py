"""Colors of images over HTTP: a facet, and queries that name one."""

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, png

from vision_recs.jobs import IndexOptions, index

COLORS = {"navy": (28, 42, 79), "red": (208, 28, 36)}


@pytest.fixture
def store(tmp_path):
    shop = Shop()
    for number in range(8):
        name = "red" if number % 4 == 0 else "navy"
        pixels = np.full((16, 16, 3), COLORS[name], np.uint8)
        pixels[0, 0] = number
        shop.files[f"{number}.png"] = png(pixels)
        shop.put(f"{name}{number}", f"{number}.png")
    options = IndexOptions(workers=1, names_colors=True)
    index(shop, tmp_path / "store", encoder=FakeEncoder(), options=options)
    return tmp_path / "store"


def test_items_are_counted_and_found_by_color(store, connect):
    with connect(store) as client:
        (facet,) = client.get("/v1/facets").json()["facets"]
        assert (facet["name"], facet["kind"], facet["counts"]) == ("image_colors", "set", [["navy", 6], ["red", 2]])
        found = client.get("/v1/similar", params={"id": "navy1", "color": "crimson"}).json()["matches"]
        assert {match["id"] for match in found} == {"red0", "red4"}
        body = {"items": ["red0"], "colors": ["navy"], "where": 'id != "navy1"'}
        found = client.post("/v1/similar", json=body).json()["matches"]
        assert {match["id"] for match in found} == {"navy2", "navy3", "navy5", "navy6", "navy7"}
        refused = client.get("/v1/similar", params={"id": "navy1", "color": "striped"})
        assert (refused.status_code, "names no color" in refused.text) == (400, True)
