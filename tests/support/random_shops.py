"""Shops drawn at random, whose images are so simple that many of them tie."""

import numpy as np
from fake_shop import Shop, png
from hypothesis import strategies as st

# Four cells of a few grey levels: few directions, so that many images tie, some of other bytes.
levels = st.tuples(*[st.sampled_from([0, 100, 200])] * 4).filter(any)


def cells(four):
    """Return an image of *four* cells of these grey levels."""
    return png(np.kron(np.array(four).reshape(2, 2), np.ones((4, 4)))[..., None].repeat(3, axis=2))


@st.composite
def shops(draw, most, attributes):
    """A shop of up to *most* items; images may be shared, be copies of one another, or lie in one direction.

    *attributes* holds a strategy for each attribute of an item.
    """
    shop = Shop()
    kinds = draw(st.lists(levels, min_size=1, max_size=9))
    shop.files = {f"{number}.png": cells(kind) for number, kind in enumerate(kinds)}
    images = st.lists(st.sampled_from(sorted(shop.files)), min_size=1, max_size=3, unique=True)
    for number, shown in enumerate(draw(st.lists(images, min_size=1, max_size=most))):
        shop.put(f"item{number:02}", *shown, **{name: draw(value) for name, value in attributes.items()})
    return shop
