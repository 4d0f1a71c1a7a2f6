"""Write the fixture of the store's present format, once for each format that is released:

PYTHONPATH=.:tests/support python tests/formats/make_fixture.py tests/formats/v1
"""

import sys
from pathlib import Path

from fake_shop import BLACK, Shop, index, png

from vision_recs.store import collect


def flat(*color):
    return png([[color] * 8] * 8)


def shop():
    """Return five items: one of two images, two that share one, one that is skipped in part."""
    shop = Shop()
    shop.files = {
        "red.png": flat(220, 20, 20),
        "rose.png": flat(220, 120, 120),
        "green.png": flat(20, 200, 40),
        "blue.png": flat(30, 40, 210),
        "black.png": BLACK,
    }
    views = ({"view": "front"}, {"view": "side"})
    shop.put("mug-red", "red.png", "rose.png", image_attributes=views, name="Mug", price=9.5, stock=True)
    shop.put("mug-blue", "blue.png", name="Mug", price=9.5, stock=False)
    shop.put("vase", "green.png", name="Vase, grün", price=20, stock=True)
    shop.put("vase-2", "green.png", name="Vase", price=None, stock=True)
    shop.put("lamp", "black.png", "rose.png", name="Lamp", price=45, stock=True)
    return shop


if __name__ == "__main__":
    target = Path(sys.argv[1])
    index(shop(), target, shard_size=3)
    changed = shop()
    changed.items["mug-blue"].attributes["price"] = 8
    index(changed, target, shard_size=3)
    collect(target)
    (target / "LOCK").unlink()
