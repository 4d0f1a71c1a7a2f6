"""Copies are found by their pixels: compared with looking at all pairs, one at a time."""

from __future__ import annotations

import tempfile
from io import BytesIO

import numpy as np
import pytest
from fake_shop import Shop, cosine, index, png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from property_examples import examples_of

from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
from vision_recs.batch.duplicates.copies import find_copies, small_picture
from vision_recs.batch.duplicates.pairs import ImageUsage, nearest_images
from vision_recs.batch.duplicates.without_words import images_alone
from vision_recs.batch.item_arrays import ItemArrays, masks_and_groups
from vision_recs.store import Store


def scene(seed, size=(240, 180)):
    """Return a picture of soft patches of color, unlike that of any other *seed*."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)


def jpeg(image, quality=90):
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def copies_in(store, images, *, placeholder=10, one_per=None, said=None):
    """Return what `find_copies` finds in *store*, its pairs by the names of the images."""
    with Store.open(store, images=images) as opened:
        opened.pin()
        arrays = ItemArrays.of(opened)
        _, groups = masks_and_groups(opened, arrays, [], one_per)
        vectors, arrays = images_alone(opened, arrays)
        usage = ImageUsage.of(arrays, groups, placeholder=placeholder)
        nearest = nearest_images(vectors, usage)
        found = find_copies(opened, usage, nearest, lambda *each: said is not None and said.append(each))
    names = [arrays.images[usage.rows[start]] for start in usage.starts[:-1]]
    pairs = found.pairs
    return {frozenset((names[one], names[other])) for one, other in zip(pairs.one, pairs.other, strict=True)}, found


ALTERED = {
    "smaller": lambda image: jpeg(image.resize((96, 72))),
    "larger": lambda image: jpeg(image.resize((600, 450))),
    "saved anew": lambda image: jpeg(image, quality=25),
    "as PNG": png,
    "framed in white": lambda image: jpeg(ImageOps.expand(image, 15, "white")),
    "framed in gray": lambda image: jpeg(ImageOps.expand(image, (5, 30, 20, 10), (128, 128, 128))),
    "stretched": lambda image: jpeg(image.resize((200, 200))),
}
OTHERS = {
    "mirrored": lambda image: jpeg(ImageOps.mirror(image)),
    "in other colors": lambda image: jpeg(Image.merge("RGB", [image.split()[band] for band in (1, 2, 0)])),
    "a part": lambda image: jpeg(image.crop((60, 40, 200, 160))),
    "half as bright": lambda image: jpeg(image.point(lambda level: level // 2)),
}


@pytest.mark.parametrize("name", [*ALTERED, *OTHERS])
def test_a_picture_in_another_size_quality_or_margin_is_a_copy_and_nothing_else_is(name, tmp_path):
    shop = Shop(files={f"{seed}.jpg": jpeg(scene(seed)) for seed in range(5)})
    shop.files["altered"] = {**ALTERED, **OTHERS}[name](scene(0))
    for each in shop.files:
        shop.put(each, each)
    index(shop, tmp_path)
    said = []
    found, counted = copies_in(tmp_path, shop, said=said)
    assert found == ({frozenset(("0.jpg", "altered"))} if name in ALTERED else set())
    assert counted.unread == 0
    assert said == [(number + 1, counted.looked_at) for number in range(counted.looked_at)]


def test_what_cannot_be_read_or_has_changed_is_counted_and_no_copy(tmp_path):
    shop = Shop(files={name: jpeg(scene(0), quality) for quality, name in enumerate("abcde", 85)})
    for each in shop.files:
        shop.put(each, each)
    index(shop, tmp_path)
    shop.files["a"], shop.files["b"] = jpeg(scene(0), 95), b"no image"
    del shop.files["c"]
    found, counted = copies_in(tmp_path, shop)
    assert found == {frozenset("de")}
    assert (counted.looked_at, counted.unread) == (2, 3)
    with Store.open(tmp_path, images=shop) as opened:
        duplicates = find_duplicates(opened)
    assert (duplicates.looked_at, duplicates.unread) == (2, 3)


def test_a_wished_threshold_looks_at_no_image(tmp_path):
    shop = Shop(files={name: jpeg(scene(0), quality) for quality, name in enumerate("ab", 85)})
    for each in shop.files:
        shop.put(each, each)
    index(shop, tmp_path)
    shop.reads.clear()
    with Store.open(tmp_path, images=shop) as opened:
        found = find_duplicates(opened, DuplicateOptions(threshold=1))
    assert (found.groups, found.looked_at, found.unread, shop.reads) == ((), 0, 0, [])


def is_same(one, other):
    """Compare two small pictures pixel by pixel."""
    for first in one.astype(float):
        for second in other.astype(float):
            difference = np.mean([(a - b) ** 2 for a, b in zip(first.ravel(), second.ravel(), strict=True)])
            varies = [np.mean([np.var(picture[..., band]) for band in range(3)]) for picture in (first, second)]
            if difference <= 0.03 * (min(varies) + 4):
                return True
    return False


@st.composite
def shops(draw):
    shop = Shop()
    for number, (seed, quality) in enumerate(
        draw(st.lists(st.tuples(st.integers(0, 2), st.integers(60, 95)), min_size=2, max_size=8, unique=True))
    ):
        shop.files[f"{number}"] = jpeg(scene(seed, (48, 36)), quality)
    shown = st.lists(st.sampled_from(sorted(shop.files)), min_size=1, max_size=3, unique=True)
    for number, names in enumerate(draw(st.lists(shown, min_size=1, max_size=9))):
        shop.put(f"item{number}", *names, group=draw(st.sampled_from([None, "a", "b"])))
    return shop


@settings(deadline=None, max_examples=examples_of(40))
@given(shop=shops())
def test_copies_are_those_of_looking_at_every_pair(shop):
    with tempfile.TemporaryDirectory() as folder:
        index(shop, folder)
        one_per = "group" if any(item.attributes["group"] for item in shop.items.values()) else None
        found, _ = copies_in(folder, shop, one_per=one_per)
        with Store.open(folder) as opened:
            vectors = {row.image: opened.vectors(np.array([row.position]))[0] for row in opened.stored_rows()}
    products = {name: set() for name in vectors}
    for item in shop.items.values():
        for name in item.images:
            products[name].add(item.attributes["group"] or item.id)
    small = {name: small_picture(shop.files[name]) for name in vectors}
    wanted = {
        frozenset((one, other))
        for one in vectors
        for other in vectors
        if one < other
        and (products[one] != products[other] or len(products[one]) > 1)
        and cosine(vectors[one], vectors[other]) >= 0.8
        and is_same(small[one], small[other])
    }
    only_one = {pair for pair in found if len(set().union(*(products[name] for name in pair))) == 1}
    assert found - only_one == wanted  # the pairs of one product are left out of the groups later
