"""A store with a projection: its vectors, its answers, its next generations, and the way back."""

import os
import shutil

import numpy as np
import pytest
from fake_shop import FakeEncoder, content, image, index, shop_of, snapshot, wanted
from safetensors.numpy import load_file

import vision_recs
from vision_recs.errors import SpaceMismatch, StoreDamaged, StoreError
from vision_recs.jobs import retune, verify
from vision_recs.recommend import Query
from vision_recs.store import Layout, Projection, Store, garbage_collect

DIM = 12
SHOP = shop_of(9)


def projection(seed=0, dim=5):
    random = np.random.default_rng(seed)
    mean, matrix = random.normal(size=DIM).astype(np.float32), random.normal(size=(DIM, dim)).astype(np.float32)
    return Projection(mean, matrix, {"learned_from": "a test"})


def expected(vectors, learned):
    """Return what *learned* makes of *vectors*, one number at a time."""
    found = []
    for vector in vectors.tolist():
        moved = [value - middle for value, middle in zip(vector, learned.mean.tolist(), strict=True)]
        mapped = [sum(a * b for a, b in zip(moved, column, strict=True)) for column in learned.matrix.T.tolist()]
        length = sum(value**2 for value in mapped) ** 0.5
        found.append([value / length for value in mapped])
    return np.array(found)


@pytest.fixture
def folder(tmp_path):
    index(SHOP, tmp_path / "index")
    return tmp_path / "index"


def test_vectors_are_projected_when_they_are_read_and_the_shards_stay_as_they_are(folder):
    before = Store.open(folder)
    plain = before.vectors(before.positions())
    shards = {name: digest for name, digest in snapshot(folder).items() if name.startswith("shards/")}
    retune(folder, projection())
    after = Store.open(folder)
    assert after.vectors(after.positions()) == pytest.approx(expected(plain, projection()), abs=1e-6)
    assert after.encoder_vectors(after.positions()).tolist() == plain.tolist()
    assert (after.dim, before.dim, after.generation) == (5, DIM, 2)
    assert shards.items() <= snapshot(folder).items()


def test_a_vector_is_projected_alike_whoever_it_is_read_with(folder):
    retune(folder, projection())
    store = Store.open(folder)
    together = store.vectors(store.positions())
    alone = [store.vectors(store.positions()[number : number + 1])[0].tolist() for number in range(9)]
    assert together.tolist() == alone


def test_each_projection_is_a_space_of_its_own(folder):
    spaces = [Store.open(folder).fingerprint, *(retune(folder, projection(seed)).space for seed in (0, 1))]
    assert len(set(spaces)) == 3
    assert retune(folder, projection(0)).space == spaces[1]
    assert spaces[0] == Store.open(folder).manifest.encoder.fingerprint


def test_answers_are_those_of_the_projected_vectors_by_item_and_by_image(folder, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    retune(folder, projection())
    shop = vision_recs.open(folder)
    store = shop.items
    vectors = dict(zip(store.items.ids(), store.vectors(store.positions()).astype(np.float64), strict=True))
    cosines = {item: float(vectors["item003"] @ vector) for item, vector in vectors.items() if item != "item003"}
    best = sorted(cosines, key=lambda item: (-cosines[item], item))
    assert [match.id for match in shop.similar("item003", k=8)] == best
    per_image = shop.query(Query(images=(image(3),), k=9))
    assert [match.id for match in per_image] == ["item003", *best]
    assert per_image[0].score == pytest.approx(1, abs=1e-3)
    assert shop.index.source == (store.fingerprint, 2)


def test_later_runs_go_on_with_it_and_embed_only_what_is_new(folder):
    retune(folder, projection())
    encoder = FakeEncoder()
    shop = shop_of(11)
    report = index(shop, folder, encoder)
    assert (report.embedded, report.generation) == (2, 3)
    store = Store.open(folder)
    assert report.fingerprint == store.fingerprint != store.manifest.encoder.fingerprint
    assert store.dim == 5
    assert len(store.positions()) == 11
    assert [match.id for match in vision_recs.open(folder).similar("item010", k=20)] != []
    assert list(verify(folder)) == []


def test_another_encoder_leaves_it_behind(folder):
    retune(folder, projection())
    index(SHOP, folder, FakeEncoder(turn=1))
    assert content(folder) == wanted(SHOP, FakeEncoder(turn=1))


def test_undoing_brings_the_old_answers_back(folder):
    before = vision_recs.open(folder).similar("item003")
    retune(folder, projection())
    assert vision_recs.open(folder).similar("item003") != before
    assert retune(folder, None).generation == 3
    assert vision_recs.open(folder).similar("item003") == before
    assert content(folder) == wanted(SHOP)


def test_there_is_nothing_to_undo_without_one(folder):
    before = snapshot(folder)
    with pytest.raises(StoreError, match="has no projection; there is nothing to undo"):
        retune(folder, None)
    assert snapshot(folder) == before


def test_it_is_refused_where_the_vectors_are_by_now_of_another_encoder(folder):
    learned_from = Store.open(folder).manifest.encoder.fingerprint
    index(SHOP, folder, FakeEncoder(turn=1))
    with pytest.raises(SpaceMismatch, match="run `visrec tune` again"):
        retune(folder, projection(), encoder=learned_from)


def test_garbage_is_every_projection_but_the_published_one(folder):
    for seed in range(3):
        retune(folder, projection(seed))
    kept = Store.open(folder)
    assert len(list(Layout(folder).projections.iterdir())) == 3
    garbage_collect(folder)
    assert [path.stem for path in Layout(folder).projections.iterdir()] == [kept.manifest.projection.digest]
    assert list(verify(folder)) == []
    retune(folder, None)
    garbage_collect(folder)
    assert list(Layout(folder).projections.iterdir()) == []


def test_a_reader_keeps_it_while_it_is_undone_and_collected(folder):
    retune(folder, projection())
    old = vision_recs.open(folder)
    answers = old.similar("item003")
    retune(folder, None)
    garbage_collect(folder)
    assert old.similar("item003") == answers


@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_damage_is_found_by_verify_and_never_answered_with(folder, damage):
    retune(folder, projection())
    (path,) = Layout(folder).projections.iterdir()
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-4] if damage == "cut" else data[:-4] + b"\0\0\x80\x3f")
    assert [str(path) in problem for problem in verify(folder)] == [True]
    with pytest.raises(StoreDamaged, match="visrec tune --undo"):
        vision_recs.open(folder)
    assert retune(folder, None).generation == 3
    assert content(folder) == wanted(SHOP)


def test_the_file_is_readable_without_visrec_and_says_where_it_comes_from(folder):
    learned = projection()
    retune(folder, learned)
    (path,) = Layout(folder).projections.iterdir()
    tensors = load_file(path)
    assert tensors["matrix"].tolist() == learned.matrix.tolist()
    assert tensors["mean"].tolist() == learned.mean.tolist()
    assert Store.open(folder).projection.provenance == {"learned_from": "a test"}


def test_a_store_without_one_says_nothing_of_it(folder):
    assert b"projection" not in Layout(folder).manifest(1).read_bytes()


def test_a_run_that_dies_leaves_the_old_generation_and_can_be_repeated(folder, tmp_path, monkeypatch):
    before = content(folder)
    replace, died = os.replace, 0
    for step in range(20):
        copy = shutil.copytree(folder, tmp_path / f"copy{step}")
        calls = []

        def dying(*args, step=step, calls=calls, **kwargs):
            calls.append(args)
            if len(calls) > step:
                raise KeyboardInterrupt
            return replace(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                retune(copy, projection())
            except KeyboardInterrupt:
                died += 1
            else:
                break
        assert content(copy) == before
        assert retune(copy, projection()).dim == 5
        assert list(verify(copy)) == []
    assert died >= 3  # the files of the index, the manifest, CURRENT
