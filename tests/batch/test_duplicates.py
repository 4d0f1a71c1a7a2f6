"""Groups of duplicates, compared with the definition of complete linkage over every pair of images."""

from __future__ import annotations

import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, content, cosine, index
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_shops import cells

from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
from vision_recs.batch.duplicates import pairs as pairing
from vision_recs.batch.duplicates.finding import complete_linkage
from vision_recs.batch.duplicates.threshold import HIGHEST, LOWEST, TOO_FEW, estimate_threshold
from vision_recs.errors import PolicyError, VisionRecsError


def by_definition(pairs):
    """Merge the two groups whose farthest members are nearest, as long as every two of them are a pair."""
    score_of = {}
    for one, other, score in pairs:
        key = frozenset((one, other))
        if one != other:
            score_of[key] = min(score, score_of.get(key, score))
    groups = sorted([[number] for number in set().union(*score_of)]) if score_of else []
    while True:
        best = None
        for one, other in combinations(range(len(groups)), 2):
            scores = [score_of.get(frozenset((a, b))) for a in groups[one] for b in groups[other]]
            if None not in scores and (best is None or min(scores) > best[0]):
                best = min(scores), one, other
        if best is None:
            return [group for group in groups if len(group) > 1]
        _, one, other = best
        groups[one] = sorted(groups[one] + groups.pop(other))


scores = st.sampled_from([0.9, 0.92, 0.95, 0.99, 1.0])
some_pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), scores), max_size=45)


@settings(deadline=None, max_examples=examples_of(300))
@given(pairs=some_pairs)
def test_groups_are_those_of_the_definition(pairs):
    assert complete_linkage(pairs) == by_definition(pairs)


@settings(deadline=None)
@given(pairs=some_pairs)
def test_every_two_of_a_group_are_a_pair_and_no_two_groups_could_be_one(pairs):
    known = {frozenset((one, other)) for one, other, _ in pairs if one != other}
    groups = complete_linkage(pairs)
    for group in groups:
        assert {frozenset(two) for two in combinations(group, 2)} <= known
    for one, other in combinations(groups, 2):
        assert not {frozenset((a, b)) for a in one for b in other} <= known


def test_a_chain_does_not_become_one_group():
    chain = [(number, number + 1, 0.99) for number in range(6)]
    assert complete_linkage(chain) == [[0, 1], [2, 3], [4, 5]]


def test_of_a_chain_the_strongest_link_holds():
    assert complete_linkage([(0, 1, 0.95), (1, 2, 0.97)]) == [[1, 2]]


levels = st.tuples(*[st.sampled_from([0, 90, 200])] * 4).filter(any)


@st.composite
def shops(draw):
    shop = Shop()
    kinds = draw(st.lists(levels, min_size=1, max_size=8))
    shop.files = {f"{number}.png": cells(kind) for number, kind in enumerate(kinds)}
    images = st.lists(st.sampled_from(sorted(shop.files)), min_size=1, max_size=3, unique=True)
    for number, shown in enumerate(draw(st.lists(images, min_size=1, max_size=14))):
        shop.put(f"item{number:02}", *shown, variant_group=draw(st.sampled_from([None, "a", "b"])))
    return shop


def wanted(held, threshold, placeholder, *, one_per):
    """Return the groups (kind, items, score) and the placeholders (digest -> items), found by looking at all pairs."""
    group_of = {item: (attributes.get(one_per) if one_per else None) or item for item, (attributes, _) in held.items()}
    shown_by = {}
    for item, (_, shown) in held.items():
        for _, digest, _, _ in shown:
            shown_by.setdefault(digest, set()).add(item)
    placeholders = {
        digest: items for digest, items in shown_by.items() if len({group_of[item] for item in items}) >= placeholder
    }
    shown = {
        item: [(digest, vector) for _, digest, vector, _ in images if digest not in placeholders]
        for item, (_, images) in held.items()
    }
    ids = sorted(held)
    pairs = []
    for one, other in combinations(range(len(ids)), 2):
        both = [(a, b) for a in shown[ids[one]] for b in shown[ids[other]]]
        same = any(a[0] == b[0] for a, b in both)
        score = 1.0 if same else max((cosine(a[1], b[1]) for a, b in both), default=-1.0)
        if same or (score >= threshold and group_of[ids[one]] != group_of[ids[other]]):
            pairs.append((one, other, score))
    score_of = {(one, other): score for one, other, score in pairs}
    groups = []
    for members in by_definition(pairs):
        digests = [{digest for digest, _ in shown[ids[member]]} for member in members]
        kind = "exact" if set.intersection(*digests) else "near"
        groups.append((kind, min(score_of[two] for two in combinations(members, 2)), tuple(ids[m] for m in members)))
    return sorted(groups, key=lambda group: (group[0] != "exact", -group[1], group[2])), placeholders


@settings(deadline=None, max_examples=examples_of(60))
@given(
    shop=shops(),
    threshold=st.sampled_from([0.5, 0.8, 0.9, 0.99]),
    placeholder=st.integers(2, 6),
    one_per=st.sampled_from([None, "variant_group"]),
)
def test_the_groups_are_those_of_comparing_every_pair(shop, threshold, placeholder, one_per):
    with tempfile.TemporaryDirectory() as folder:
        index(shop, folder, FakeEncoder())
        options = DuplicateOptions(threshold=threshold, one_per=one_per, placeholder=placeholder)
        found = find_duplicates(folder, options)
        held = content(Path(folder)).items
    groups, placeholders = wanted(held, threshold, placeholder, one_per=one_per)
    assert [(group.kind, group.items) for group in found.groups] == [(kind, items) for kind, _, items in groups]
    assert [group.score for group in found.groups] == pytest.approx([score for _, score, _ in groups], abs=1e-6)
    assert sorted(sorted(each.items) for each in found.placeholders) == sorted(map(sorted, placeholders.values()))
    for group in found.groups:
        for item, image in zip(group.items, group.images, strict=True):
            assert image in {name for name, _, _, _ in held[item][1]}


@pytest.fixture
def shop():
    """Two items of the same bytes, one of nearly the same image, and one of another."""
    shop = Shop()
    shop.files = {
        "red.png": cells((200, 0, 0, 10)),
        "copy.png": cells((200, 0, 0, 10)) + b"\0",
        "reddish.png": cells((200, 0, 12, 10)),
        "blue.png": cells((0, 0, 200, 90)),
    }
    for name in shop.files:
        shop.put(name.removesuffix(".png"), name)
    shop.put("twin", "blue.png")
    return shop


def test_the_same_bytes_are_exact_and_a_copy_of_other_bytes_is_near(shop, tmp_path):
    index(shop, tmp_path)
    said = []
    found = find_duplicates(tmp_path, DuplicateOptions(threshold=0.99), progress=lambda *each: said.append(each))
    exact, near = found.groups
    assert (exact.kind, exact.items, exact.images, exact.score) == (
        "exact",
        ("blue", "twin"),
        ("blue.png", "blue.png"),
        1.0,
    )
    assert (near.kind, near.items) == ("near", ("copy", "red", "reddish"))
    assert 0.99 < near.score < 1
    assert (found.items, found.images, found.generation, found.threshold, found.is_estimated) == (
        5,
        5,
        1,
        0.99,
        False,
    )
    assert said == [("comparing", 4, 4)]


def test_what_is_looked_at_and_what_is_compared_is_reported_from_the_start_on(shop, tmp_path):
    index(shop, tmp_path)
    said = []
    find_duplicates(tmp_path, progress=lambda *each: said.append(each))
    assert [each for each in said if each[0] == "comparing"] == [("comparing", 0, 4), ("comparing", 4, 4)]
    assert said[0][0] == "looking"


def test_the_images_of_a_group_are_those_that_are_alike(tmp_path):
    shop = Shop()
    shop.files = {
        "a1.png": cells((200, 0, 0, 0)),
        "a2.png": cells((0, 200, 0, 0)),
        "b1.png": cells((0, 0, 200, 0)),
        "b2.png": cells((0, 200, 2, 0)),
        "c1.png": cells((0, 200, 0, 3)),
        "c2.png": cells((0, 0, 0, 200)),
    }
    for item in "abc":
        shop.put(item, f"{item}1.png", f"{item}2.png")
    index(shop, tmp_path)
    (group,) = find_duplicates(tmp_path, DuplicateOptions(threshold=0.95)).groups
    assert (group.items, group.images) == (("a", "b", "c"), ("a2.png", "b2.png", "c1.png"))


def test_a_placeholder_makes_no_group(shop, tmp_path):
    shop.files["none.png"] = cells((90, 90, 90, 90))
    for number in range(4):
        shop.put(f"new{number}", "none.png")
    index(shop, tmp_path)
    options = DuplicateOptions(threshold=0.999, placeholder=4)
    found = find_duplicates(tmp_path, options)
    (placeholder,) = found.placeholders
    assert (placeholder.image, placeholder.items) == ("none.png", ("new0", "new1", "new2", "new3"))
    assert [group.items for group in found.groups] == [("blue", "twin"), ("copy", "red")]


def test_variants_are_duplicates_by_the_same_bytes_only(shop, tmp_path):
    for item in shop.items:
        shop.put(item, *shop.items[item].images, variant_group="one")
    index(shop, tmp_path)
    found = find_duplicates(tmp_path, DuplicateOptions(threshold=0.99))
    assert [group.items for group in found.groups] == [("blue", "twin")]


def test_a_shop_of_one_item_has_no_groups(tmp_path):
    shop = Shop()
    shop.put("only", 1)
    index(shop, tmp_path)
    found = find_duplicates(tmp_path)
    assert (found.groups, found.placeholders, found.threshold) == ((), (), TOO_FEW)


def test_mistakes_are_sentences(shop, tmp_path, monkeypatch):
    index(shop, tmp_path)
    with pytest.raises(PolicyError, match="no item has the attribute 'kind'"):
        find_duplicates(tmp_path, DuplicateOptions(one_per="kind"))
    with pytest.raises(ValueError, match="threshold of 0 is not above 0"):
        DuplicateOptions(threshold=0)
    with pytest.raises(ValueError, match="use 2 or more"):
        DuplicateOptions(placeholder=1)
    monkeypatch.setattr(pairing, "_MOST", 3)
    with pytest.raises(VisionRecsError, match="more than 3 pairs of items are alike; raise the threshold"):
        find_duplicates(tmp_path, DuplicateOptions(threshold=0.1))


@pytest.mark.parametrize("middle", [35, 45, 60])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
def test_an_estimated_threshold_is_between_duplicates_and_chance(middle, share):
    random = np.random.default_rng(0)
    usual = np.cos(np.radians(random.normal(middle, 7, 4000)))
    again = np.cos(np.radians(np.abs(random.normal(0, 4, int(4000 * share)))))  # cosines from .97 to 1
    threshold = estimate_threshold(np.concatenate([usual, again]))
    assert (usual >= threshold).mean() < 0.002
    if share:
        assert (again >= threshold).mean() > 0.5


def test_more_duplicates_lower_the_threshold_but_little():
    random = np.random.default_rng(0)
    usual = np.cos(np.radians(random.normal(45, 7, 4000)))
    alone = estimate_threshold(usual)
    with_some = estimate_threshold(np.concatenate([usual, np.full(800, 0.995)]))
    assert alone == pytest.approx(np.cos(np.radians(45 - 3.5 * 7)), abs=0.01)
    assert abs(alone - with_some) < 0.03


def test_an_estimated_threshold_has_bounds():
    assert estimate_threshold(np.full(19, 0.5)) == TOO_FEW
    assert estimate_threshold(np.full(100, 0.5)) == LOWEST
    assert estimate_threshold(np.full(100, 0.999)) == HIGHEST
    assert estimate_threshold(np.linspace(-1, 1, 100)) == HIGHEST
