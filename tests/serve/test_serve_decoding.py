"""An image that crashes its decoder, or never lets it go, costs its own request and nothing else."""

import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path

import broken_decoder

from vision_recs.serve import Limits

SAMPLES = Path(__file__).parents[2] / "sample_images"
EVIL, GOOD = (SAMPLES / "vase-02-2.jpg").read_bytes(), (SAMPLES / "mug-01-2.jpg").read_bytes()


def answer(url, data=None):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, {"content-type": "image/jpeg"}), timeout=120
        ) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_decoder_that_crashes_takes_neither_the_server_nor_other_images_with_it(serve, sample_store, tmp_path):
    broken = broken_decoder.environment("segfault", EVIL)
    with serve(sample_store, tmp_path / "log", **broken) as server:
        workers = server.worker_ids()
        thumbnail = (
            f"{server.url}/v1/thumbnails/{hashlib.sha256(EVIL).hexdigest()}?side=1280"  # which no other test has cached
        )
        for url, data in ((f"{server.url}/v1/similar/image", EVIL), (thumbnail, None)):
            status, body = answer(url, data)
            assert (status, json.loads(body)["reason"]) == (422, "crashed")
        assert answer(f"{server.url}/v1/similar/image?k=1", GOOD)[0] == 200
        status, body = answer(f"{server.url}/v1/thumbnails/{hashlib.sha256(GOOD).hexdigest()}")
        assert (status, body[:2]) == (200, b"\xff\xd8")
        assert server.worker_ids()[: len(workers)] == workers
    assert "Traceback" not in server.log.read_text()


def test_a_decoder_that_does_not_end_is_ended(connect, sample_store, monkeypatch):
    for name, value in broken_decoder.environment("spin", EVIL).items():
        monkeypatch.setenv(name, value)
    with connect(sample_store, limits=Limits(max_decode_s=1)) as client:
        response = client.post("/v1/similar/image", content=EVIL, headers={"content-type": "image/jpeg"})
        assert (response.status_code, response.json()["reason"]) == (422, "too-slow")
        response = client.post("/v1/similar/image", content=GOOD, headers={"content-type": "image/jpeg"})
        assert response.status_code == 200
