"""Converted models on the disk: whatever happens to a file, no vector is wrong."""

from __future__ import annotations

import logging
import random
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import toy_encoder
from damaging import damage, files_of
from parts import complaints_about, part_of, seed

from vision_recs import jobs
from vision_recs.cache_dir import cache_dir
from vision_recs.encoders import load_encoder, model_cache
from vision_recs.errors import SpaceMismatch
from vision_recs.images import canary_image, prepare
from vision_recs.scratch import PREFIX
from vision_recs.store import Store

DAMAGES_IN_CI, DAMAGES_AT_NIGHT = 10, 500


@pytest.fixture(autouse=True)
def toy_family():
    with toy_encoder.registered():
        yield


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A cache in which the toy encoder is converted and compiled; nobody changes it."""
    folder = tmp_path_factory.mktemp("converted") / "cache"
    with pytest.MonkeyPatch.context() as patch, toy_encoder.registered():
        patch.setenv("VISREC_CACHE", str(folder))
        load_encoder("toy", runtime="openvino")
        load_encoder("toy", runtime="openvino", precision="f32")
    return folder


@pytest.fixture
def cache(converted, tmp_path, monkeypatch):
    """A cache of its own, in which the toy encoder is converted and compiled."""
    shutil.copytree(converted, tmp_path / "cache")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    (folder,) = (cache_dir() / "models").iterdir()
    return folder


@pytest.fixture
def conversions(monkeypatch):
    """How often a model was converted."""
    from vision_recs.encoders import openvino_runtime

    real, count = openvino_runtime.convert, []
    monkeypatch.setattr(openvino_runtime, "convert", lambda *given: count.append(1) or real(*given))
    return count


def vectors(runtime="openvino"):
    encoder = load_encoder("toy", runtime=runtime, precision="f32")
    assert encoder.runtime == f"{runtime} f32"
    first = prepare(canary_image(), encoder.spec.preprocess)
    return encoder.encode(np.stack([first, first[::-1], 255 - first]))


def test_a_model_is_converted_once(cache, conversions):
    np.testing.assert_allclose(vectors(), vectors("torch"), atol=1e-6)
    vectors()
    assert conversions == []
    assert sorted(file.suffix for file in cache.iterdir()).count(".blob") <= 2  # f32 and bf16


FILES = ["model.json", "model.xml", "model.bin", "blob"]


def empty(_):
    return b""


def half(data):
    return data[: len(data) // 4] + bytes(len(data) // 2) + data[3 * len(data) // 4 :]


def cut(data):
    return data[: len(data) // 2]


def bit(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x40]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [  # each file in one way each time, in every way at night
        pytest.param(name, damage, marks=[] if number == way else [pytest.mark.nightly])
        for number, name in enumerate(FILES)
        for way, damage in enumerate([half, cut, bit, empty])
    ],
)
def test_no_file_that_was_altered_is_used(cache, caplog, name, damage):
    expected = vectors()
    blobs = list(cache.glob("*.blob"))
    for file in blobs if name == "blob" else [cache / name]:
        file.write_bytes(damage(file.read_bytes()))
    if name in {"model.xml", "model.bin"}:  # read only where nothing compiled from them is at hand
        for blob in blobs:
            blob.unlink()
    with caplog.at_level(logging.WARNING, "vision_recs"):
        np.testing.assert_array_equal(vectors(), expected)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(caplog.records)
    assert "was altered" in caplog.text
    assert "made again" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(vectors(), expected)
    assert caplog.text == ""


def complaints_after_damages(tmp_path, seed, numbers):
    """Damage a file of the cache at random, as a disk or a copy may, and return where a vector is not what it was."""
    shutil.rmtree(cache_dir())
    expected = vectors()
    kept = shutil.copytree(cache_dir(), tmp_path / "kept")
    (blob,) = (name for name in files_of(kept) if name.endswith(".blob"))
    others = [name for name in files_of(kept) if name != blob]

    def of_trial(number):
        draw = random.Random(f"{seed} {number}")
        shutil.rmtree(cache_dir())
        shutil.copytree(kept, cache_dir())
        if number % 2:
            done = damage(cache_dir(), blob, draw)
        else:  # what the blob is made of is read where there is none
            (cache_dir() / blob).unlink()
            done = damage(cache_dir(), draw.choice(others), draw)
        for times in ("once", "twice"):
            try:
                found = vectors()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the trial found
                return [f"seed {seed}, trial {number}: {done}: {times} {error!r}"]
            if not np.array_equal(found, expected):
                return [f"seed {seed}, trial {number}: {done}: {times} other vectors"]
        return []

    return complaints_about(numbers, of_trial)


@pytest.mark.usefixtures("cache")
def test_some_damages_of_the_cache_leave_the_vectors_as_they_are(tmp_path):
    assert complaints_after_damages(tmp_path, 0, range(DAMAGES_IN_CI)) == []


@pytest.mark.nightly
@pytest.mark.usefixtures("cache")
def test_no_damage_of_the_cache_gives_another_vector(tmp_path):
    assert complaints_after_damages(tmp_path, seed(), part_of(range(DAMAGES_AT_NIGHT))) == []


def test_every_byte_of_what_was_compiled_counts(cache):
    (model,) = [model_cache.find_model("toy:4", None)]
    (blob, *_) = cache.glob("*.blob")
    key, data = blob.name.partition("-")[0], blob.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(data), 200).tolist():
        blob.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert model.read_compiled(key) is None
        assert not blob.exists()
    blob.write_bytes(data)
    assert model.read_compiled(key) == data


@pytest.mark.parametrize("name", [*FILES, "names"])
def test_a_file_that_is_gone_is_made_again(cache, name):
    expected = vectors()
    pattern = {"blob": "*.blob", "names": "../../names/*.json"}.get(name, name)
    for file in cache.glob(pattern):
        file.unlink()
    if name in {"model.xml", "model.bin"}:
        for blob in cache.glob("*.blob"):
            blob.unlink()
    np.testing.assert_array_equal(vectors(), expected)
    assert list(cache.glob(pattern))


@pytest.mark.usefixtures("cache")
def test_without_a_cache_it_is_made_again():
    expected = vectors()
    shutil.rmtree(cache_dir())
    np.testing.assert_array_equal(vectors(), expected)


@pytest.mark.parametrize("call", ["rename", "replace"])
def test_what_a_killed_process_left_is_removed(tmp_path, monkeypatch, call):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing
        patch.setattr(Path, call, kill)
        with pytest.raises(Killed):
            load_encoder("toy", runtime="openvino")
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left
    vectors()
    (model,) = (tmp_path / "models").iterdir()
    (name,) = (tmp_path / "names").iterdir()
    assert name.suffix == ".json"
    assert {path.suffix for path in model.iterdir()} == {".json", ".xml", ".bin", ".blob"}


@pytest.mark.usefixtures("cache")
def test_another_version_of_the_library_converts_anew(conversions, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(model_cache, "version", lambda name: "9.9" if name == "numpy" else real(name))
    vectors()
    assert conversions == [1]
    monkeypatch.setattr(model_cache, "version", lambda name: "9.9" if name == "torchvision" else real(name))
    vectors()
    assert conversions == [1]  # torchvision has no part in it


@pytest.mark.usefixtures("cache")
def test_another_weights_file_at_the_same_place_converts_anew(tmp_path):
    import torch

    file = tmp_path / "toy.pt"
    backbone = toy_encoder.MeanColors(4)
    torch.save(backbone.state_dict(), file)
    first = load_encoder("toy", weights=file, runtime="openvino").spec
    with torch.no_grad():
        backbone.mix.bias += 1
    torch.save(backbone.state_dict(), file)
    assert load_encoder("toy", weights=file, runtime="openvino").spec.weights != first.weights


def test_a_converted_model_that_computes_something_else_is_not_used(tmp_path, monkeypatch, caplog):
    from vision_recs.encoders import openvino_runtime
    from vision_recs.encoders.backbone import ImageBackbone

    def wrong(backbone, file):
        with_other_weights = toy_encoder.MeanColors(4)
        with_other_weights.mix.weight.data.mul_(-1)
        return real(ImageBackbone(with_other_weights, backbone.preprocess, "grid"), file)

    real = openvino_runtime.convert
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(openvino_runtime, "convert", wrong)
    for _ in "ab":  # nor the second time
        encoder = load_encoder("toy", runtime="openvino")
        assert encoder.runtime == "torch f32"
        assert "does not reproduce the canary of PyTorch (cosine" in encoder.fallback
        assert "toy:4 runs on PyTorch, which may be ten times slower: OpenVINO cannot run it" in caplog.text
        caplog.clear()


@pytest.mark.usefixtures("cache")
def test_a_new_store_compares_a_cached_model_with_what_torch_computed(sample_images, tmp_path, monkeypatch):
    """Its digests are right, and yet it computes something else: another processor, a fault of the library."""
    monkeypatch.setattr("vision_recs.encoders.loading._is_for_openvino", lambda _device: True)
    for file in sorted(sample_images.glob("mug-0*-1.jpg"))[:3]:
        (tmp_path / "shop").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "shop")
    jobs.embed(tmp_path / "shop", tmp_path / "sound", encoder="toy")
    monkeypatch.setattr("vision_recs.encoders.openvino_runtime.split", lambda rows, _dim: (rows[:, ::-1], None))
    with pytest.raises(SpaceMismatch, match=r"toy:4 on this machine does not reproduce the canary of PyTorch"):
        jobs.embed(tmp_path / "shop", tmp_path / "wrong", encoder="toy")


def test_a_damaged_cache_leaves_the_vectors_of_a_new_store_as_they_are(sample_images, tmp_path, monkeypatch):
    """The reproduction of the fault: the model half zeroed, vectors with a cosine of .2, and `verify` content."""
    monkeypatch.setattr("vision_recs.encoders.loading._is_for_openvino", lambda _device: True)
    load_encoder("efficientnet-lite0")  # into the cache of all tests, unless it is there
    copy_cache(tmp_path / "cache")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    shop = tmp_path / "shop"
    shop.mkdir()
    for file in sorted(sample_images.glob("mug-0[1-4]-1.jpg")):
        shutil.copy(file, shop)
    reports = []
    for name in ("before", "after"):
        reports.append(jobs.embed(shop, tmp_path / name))
        for blob in (cache_dir() / "models").glob("*/*.blob"):
            blob.write_bytes(half(blob.read_bytes()))
    assert [report.runtime.split()[0] for report in reports] == ["openvino"] * 2
    found = [Store.open(tmp_path / name) for name in ("before", "after")]
    first, second = (store.vectors(store.positions()) for store in found)
    np.testing.assert_array_equal(first, second)


def copy_cache(folder):
    """Copy the cache of efficientnet-lite0, beside which another process may be making something, to *folder*."""
    model = model_cache.find_model("efficientnet-lite0", None)
    shutil.copytree(model.folder, folder / "models" / model.folder.name, ignore=shutil.ignore_patterns(f"{PREFIX}*"))
    name = model_cache._name_file("efficientnet-lite0", None)
    (folder / "names").mkdir()
    shutil.copy(name, folder / "names")


def test_a_disk_that_is_full_costs_time_only(cache, monkeypatch):
    expected = vectors()
    for blob in cache.glob("*.blob"):
        blob.unlink()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_cache, "scratch_folder", full)
    np.testing.assert_array_equal(vectors(), expected)
    assert list(cache.glob("*.blob")) == []
