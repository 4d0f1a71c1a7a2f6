"""The samples as a shop would sell them: with brands, addresses, sales and the days since when there is an item."""

from __future__ import annotations

import shutil
from pathlib import Path

from vision_recs.jobs import update
from vision_recs.store import Store

BRANDS = ("Atelier Nord", "Haus & Hof", "Kiln No. 9", "Meridian", "Oda", "Tern")


def demo_store(samples: Path, target: Path) -> Path:
    """Copy the store *samples* to *target*, and give its items what the samples lack; nothing is embedded."""
    shutil.copytree(samples, target)
    with Store.open(target) as store:
        attributes = {item: store.attributes(item) for item in store.items.ids()}
    update([_change(number, item, attributes[item]) for number, item in enumerate(sorted(attributes))], target)
    return target


def _change(number: int, item: str, attributes: dict[str, object]) -> dict[str, object]:
    change: dict[str, object] = {
        "id": item,
        "brand": BRANDS[sum(map(ord, str(attributes["variant_group"]))) % len(BRANDS)],
        "url": f"https://shop.example/products/{item}",
        "created_at": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}",
    }
    if number % 7 == 3:
        change["list_price"] = round(float(str(attributes["price"])) * 1.25, 2)
    if number % 7 == 5:
        change["sale_price"] = round(float(str(attributes["price"])) * 0.75, 2)
    return change
