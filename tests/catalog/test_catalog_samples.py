"""The sample catalog in the repository, and real photographs where they are at hand."""

from collections import Counter
from pathlib import Path

import pytest

from vision_recs.catalog import open_catalog
from vision_recs.catalog.image_files import image_bytes

REPOSITORY = Path(__file__).parents[2]
CLOTHING = REPOSITORY.parent / "shared" / "data" / "clothing" / "catalog.csv"


def test_the_sample_catalog_has_sixty_items_of_four_images():
    catalog = open_catalog(REPOSITORY / "sample_images" / "catalog.csv")
    items = list(catalog)
    assert Counter(len(item.images) for item in items) == {4: 60}
    assert catalog.image_attributes == ("view", "yaw_deg", "elevation_deg", "background")
    assert items[0].id == "mug-01"
    assert items[0].images == ("mug-01-1.jpg", "mug-01-2.jpg", "mug-01-3.jpg", "mug-01-4.jpg")
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
    assert items[0].image_attributes[1] == {
        "view": "lifestyle",
        "yaw_deg": 48,
        "elevation_deg": 20,
        "background": "pale plank table",
    }
    assert all(image_bytes(catalog.images, image).startswith(b"\xff\xd8") for item in items for image in item.images)


@pytest.mark.skipif(not CLOTHING.exists(), reason="the clothing images are not on this machine")
def test_the_clothing_catalog_has_an_item_a_row():
    catalog = open_catalog(CLOTHING)
    items = list(catalog)
    assert len(items) == len({item.id for item in items}) == 1885
    assert all(len(item.images) == 1 and set(item.attributes) == {"category", "split"} for item in items)
    assert all((CLOTHING.parent / item.images[0]).is_file() for item in items)
    assert catalog.image_attributes == ()
