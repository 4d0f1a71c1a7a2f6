"""The fast runtime against the reference: the same space, the same vectors as far as its precision goes."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from vision_recs.cache_dir import cache_dir
from vision_recs.encoders import embed_canary, load_encoder
from vision_recs.errors import DeviceUnavailable
from vision_recs.images import prepare

NAME = "efficientnet-lite0"


@pytest.fixture(scope="module")
def reference():
    return load_encoder(NAME, runtime="torch")


@pytest.fixture(scope="module")
def fast():
    return load_encoder(NAME, runtime="openvino")


@pytest.fixture(scope="module")
def pixels(fast, images):
    return np.stack([prepare(image, fast.spec.preprocess) for image in images])


def test_both_runtimes_are_one_space(reference, fast):
    assert fast.spec == reference.spec
    assert fast.runtime in {"openvino bf16", "openvino f32"}
    assert reference.runtime == "torch f32"
    assert float(embed_canary(fast) @ embed_canary(reference)) > 0.995


def test_float32_gives_the_vectors_of_torch(reference, pixels):
    exact = load_encoder(NAME, runtime="openvino", precision="f32")
    assert exact.runtime == "openvino f32"
    np.testing.assert_allclose(exact.encode(pixels), reference.encode(pixels), atol=1e-5)


def test_the_default_precision_stays_close(reference, fast, pixels):
    cosines = (fast.encode(pixels) * reference.encode(pixels)).sum(axis=1)
    assert cosines.min() > 0.995


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 11])
def test_a_vector_does_not_depend_on_its_neighbors(fast, pixels, count):
    batch = np.concatenate([pixels, pixels[::-1], pixels])[:count]
    together = fast.encode(batch)
    assert together.shape == (count, fast.spec.dim)
    for number, (image, vector) in enumerate(zip(batch, together, strict=True)):
        others = np.stack([*batch[::-1][:3], image, *pixels[:2]])  # as many as make a batch, too
        np.testing.assert_array_equal(fast.encode(others)[min(count, 3)], fast.encode(others[::-1])[2], str(number))
        assert (
            float(fast.encode(image[np.newaxis])[0] @ vector) > 0.9999
        )  # by a graph of its own, which rounds elsewhere


def test_one_image_has_a_graph_of_its_own_and_leaves_that_of_a_batch_alone(pixels):
    encoder = load_encoder(NAME, runtime="openvino")
    encoder.encode(pixels[:2])
    assert set(encoder._queues) == {1}  # the canary was one image, too
    encoder.encode(pixels[:3])
    assert set(encoder._queues) == {1, 4}
    encoder.encode(np.concatenate([pixels] * 9)[:9])
    assert set(encoder._queues) == {4}  # a catalog is embedded, and needs the memory
    encoder.encode(pixels[:1])
    assert set(encoder._queues) == {1, 4}


def test_no_thread_stays_on_one_core_where_that_of_another_process_may_be(fast):
    assert fast._queue(1)[0].get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


def test_threads_get_their_own_answers(fast, pixels):
    expected = [fast.encode(pixels[i : i + 2]) for i in range(4)]
    found: dict[int, np.ndarray] = {}

    def work(number):
        for _ in range(5):
            found[number] = fast.encode(pixels[number : number + 2])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_array_equal(found[number], expected[number])


def test_pixels_of_another_size_or_type_are_refused(fast, pixels):
    with pytest.raises(ValueError, match="uint8"):
        fast.encode(pixels[:, :100])
    with pytest.raises(ValueError, match="float32"):
        fast.encode(pixels.astype(np.float32))


def test_a_precision_that_the_processor_lacks_is_one_sentence():
    with pytest.raises(DeviceUnavailable, match="does not multiply in f16"):
        load_encoder(NAME, runtime="openvino", precision="f16")


def test_a_second_start_needs_no_torch_and_nothing_is_told_to_anybody(fast):
    code = (
        "import sys; from vision_recs.encoders import embed_canary, load_encoder; "
        f"encoder = load_encoder({NAME!r}, device='cpu'); embed_canary(encoder); "
        "print(encoder.runtime, 'torch' in sys.modules, 'openvino_telemetry.main' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == f"{fast.runtime} False False\n"


def test_a_network_that_openvino_cannot_take_over_runs_on_torch_and_says_so(monkeypatch, caplog, pixels, reference):
    def refuse(*_arguments):
        raise RuntimeError("no such operation")

    monkeypatch.setenv("VISREC_CACHE", str(cache_dir() / "other"))
    monkeypatch.setattr("vision_recs.encoders.openvino_runtime.convert", refuse)
    encoder = load_encoder(NAME, runtime="openvino")
    assert (encoder.runtime, encoder.fallback) == (
        "torch f32",
        "OpenVINO cannot run it (RuntimeError: no such operation)",
    )
    np.testing.assert_array_equal(encoder.encode(pixels), reference.encode(pixels))
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("vision_recs.encoders.loading", "WARNING")
    ]
    assert caplog.records[0].getMessage() == (
        f"{NAME} runs on PyTorch, which may be ten times slower: "
        "OpenVINO cannot run it (RuntimeError: no such operation)"
    )
