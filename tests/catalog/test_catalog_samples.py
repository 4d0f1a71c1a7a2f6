"""The sample catalogue in the repository, and real photographs where they are at hand."""

from collections import Counter
from pathlib import Path

import pytest

from vision_recs.catalog import open_catalog

REPOSITORY = Path(__file__).parents[2]
CLOTHING = REPOSITORY.parent / "shared" / "data" / "clothing" / "catalog.csv"


def test_the_sample_catalogue_has_sixty_items_of_four_pictures():
    catalog = open_catalog(REPOSITORY / "sample_images" / "catalog.csv")
    items = list(catalog)
    assert Counter(len(item.pictures) for item in items) == {4: 60}
    assert catalog.picture_columns == ("view", "yaw_deg", "elevation_deg", "background")
    assert items[0].id == "mug-01"
    assert items[0].pictures == ("mug-01-1.jpg", "mug-01-2.jpg", "mug-01-3.jpg", "mug-01-4.jpg")
    assert items[0].attributes == {
        "title": "Striped mug, white and navy",
        "category": "mug",
        "variant_group": "mug-straight",
        "color": "navy",
        "material": "porcelain",
        "style": "classic",
        "price": 14.9,
        "currency": "EUR",
        "in_stock": True,
    }
    assert items[0].picture_attributes[1] == {
        "view": "lifestyle",
        "yaw_deg": 48,
        "elevation_deg": 20,
        "background": "pale plank table",
    }
    assert all(catalog.read(picture).startswith(b"\xff\xd8") for item in items for picture in item.pictures)


@pytest.mark.skipif(not CLOTHING.exists(), reason="the clothing pictures are not on this machine")
def test_the_clothing_catalogue_has_an_item_a_row():
    catalog = open_catalog(CLOTHING)
    items = list(catalog)
    assert len(items) == len({item.id for item in items}) == 1885
    assert all(len(item.pictures) == 1 and set(item.attributes) == {"category", "split"} for item in items)
    assert all((CLOTHING.parent / item.pictures[0]).is_file() for item in items)
    assert catalog.picture_columns == ()
