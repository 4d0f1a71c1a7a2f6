"""Images in a bucket of a real S3 server: bytes, signatures, what they cost in requests, and what can go wrong."""

import random
import subprocess
import sys

import pytest
from s3_server import READ_ONLY, Request

from vision_recs.errors import ImageError
from vision_recs.remote import listings
from vision_recs.remote.buckets import BucketImages
from vision_recs.remote.options import RemoteOptions
from vision_recs.types import Unchanged

HASTY = RemoteOptions(tries=1, connect_s=10, total_s=60)


@pytest.fixture
def images():
    return BucketImages(HASTY)


def refusal(images, reference):
    with pytest.raises(ImageError) as caught:
        images.read(reference)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("key", ["a.png", "f/g/a.png", "a b/ü#1?x=%20&+.png", "pct%41.png", "n\u0308.png"])
def test_an_image_has_its_bytes_and_its_etag_whatever_its_name(s3, images, key):
    s3.put(key, b"one")
    image = images.read(f"{s3.address}/{key}")
    assert image == (b"one", "etag:f97c5d29941bfb1b2fdab0874906ab82")
    assert images.signatures([f"{s3.address}/{key}"]) == [image.signature]


def test_an_unchanged_image_costs_no_body_and_a_changed_one_is_read(s3, images):
    s3.put("a.png", b"one")
    first = images.read(f"{s3.address}/a.png")
    assert isinstance(images.read(f"{s3.address}/a.png", known=first.signature), Unchanged)
    assert s3.requests[-1] == Request("GET", "a.png", 304, 0)
    s3.put("a.png", b"two")
    second = images.read(f"{s3.address}/a.png", known=first.signature)
    assert second.data == b"two"
    assert second.signature != first.signature


def test_a_listing_answers_for_a_thousand_images_and_for_their_reading(s3, images):
    names = [f"photos/{number:04}.png" for number in range(1_200)]
    for name in names:
        s3.put(name, name.encode())
    references = [f"{s3.address}/{name}" for name in names]
    random.Random(0).shuffle(references)
    found = images.signatures([*references, f"{s3.address}/photos/nothing.png"])
    assert s3.counted() == {"LIST": 2}
    assert found[-1] is None
    assert images.signatures(references[::-1]) == found[-2::-1]
    assert all(isinstance(images.read(each, known=found[i]), Unchanged) for i, each in enumerate(references[:50]))
    assert s3.counted() == {}
    assert images.read(references[0]).signature == found[0]


def test_few_images_among_many_objects_are_asked_for_one_by_one(s3, images, monkeypatch):
    monkeypatch.setattr("vision_recs.remote.object_store.PAGE", 10)
    monkeypatch.setattr("vision_recs.remote.listings.PAGE", 10)
    for number in range(300):
        s3.put(f"photos/{number:04}.png", b"x")
    names = [f"photos/{number:04}.png" for number in range(150, 299, 10)]
    found = images.signatures([f"{s3.address}/{name}" for name in names])
    assert None not in found
    counted = s3.counted()
    assert counted["HEAD"] == len(names)
    assert counted["LIST"] <= 1 + len(names) // listings._HEADS_FOR_A_PAGE


def test_folders_are_listed_that_hold_enough_of_the_images(s3, images):
    for number in range(40):
        s3.put(f"photos/{number:02}/front.png", b"%d" % number)
        s3.put(f"other/{number:02}.txt", b"x")
    references = [f"{s3.address}/photos/{number:02}/front.png" for number in range(40)]
    assert None not in images.signatures(references)
    assert [(each.kind, each.key) for each in s3.requests] == [("LIST", "photos/")]


def test_a_listing_that_breaks_off_does_not_make_images_missing(s3, images, monkeypatch):
    monkeypatch.setattr("vision_recs.remote.object_store._REST_S", 0.0)
    for number in range(20):
        s3.put(f"photos/{number:02}.png", b"x")
    references = [f"{s3.address}/photos/{number:02}.png" for number in range(20)]
    s3.fails = lambda *_: 500
    assert images.signatures(references) == [None] * 20
    s3.fails = None
    assert None not in images.signatures(references)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("f/../g/./a.png", "g/a.png"),
        ("../../a.png", "a.png"),
        ("f\\a.png", "f/a.png"),
        ("a.png?v=17", "a.png"),
        ("n\u0308.png", "n\u0308.png"),
        ("u\u0308.png", "\u00fc.png"),
        ("\u00fc.png", "u\u0308.png"),
    ],
)
def test_the_image_that_is_meant_is_found(s3, images, written, key):
    s3.put(key, b"one")
    image = images.read(f"{s3.address}/{written}")
    assert image.data == b"one"
    assert isinstance(images.read(f"{s3.address}/{written}", known=image.signature), Unchanged)
    assert s3.requests[-1].size == 0


def test_what_cannot_be_read_has_a_reason_and_one_sentence(s3, images, monkeypatch):
    s3.put("empty.png", b"")
    s3.put("huge.png", b"x" * 11)
    assert refusal(images, f"{s3.address}/no.png") == (
        "http-404",
        f"there is no object {s3.address}/no.png; check the address",
    )
    assert refusal(images, f"{s3.address}/a//b.png")[0] == "http-404"
    assert refusal(images, f"{s3.address}/empty.png")[0] == "empty"
    small = BucketImages(RemoteOptions(max_bytes=10))
    s3.counted()
    assert refusal(small, f"{s3.address}/huge.png") == (
        "too-large",
        f"{s3.address}/huge.png has 11 bytes; the limit is 10",
    )
    assert refusal(images, "s3://no-such-bucket-here/a.png")[1] == (
        "there is no bucket s3://no-such-bucket-here; check the address"
    )
    assert refusal(images, "s3:///a.png")[1] == "s3:///a.png names no bucket; write s3://bucket/key"
    for name, value in READ_ONLY.items():
        monkeypatch.setenv(name, value)
    assert refusal(BucketImages(HASTY), f"{s3.address}/a.png")[1] == (
        f"{s3.address}/a.png may not be read (AccessDenied); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or AWS_SKIP_SIGNATURE=true for a public bucket"
    )


def test_an_endpoint_without_encryption_has_to_be_allowed(s3, images, monkeypatch):
    s3.put("a.png", b"one")
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert refusal(images, f"{s3.address}/a.png") == (
        "refused",
        f"the endpoint of {s3.address} is not encrypted; set AWS_ALLOW_HTTP=true if it may be",
    )
    assert s3.counted() == {}


def test_a_bucket_that_is_away_is_left_alone_for_a_while(s3, images, monkeypatch):
    s3.put("a.png", b"one")
    s3.fails = lambda *_: 503
    reason, message = refusal(images, f"{s3.address}/a.png")
    assert reason == "http-5xx"
    assert message == f"{s3.address} cannot be reached (HTTP 503); check the network and AWS_ENDPOINT_URL"
    assert s3.counted() == {"GET": 1}
    s3.fails = None
    assert refusal(images, f"{s3.address}/a.png") == (reason, message)
    assert s3.counted() == {}
    monkeypatch.setattr("vision_recs.remote.object_store._REST_S", 0.0)
    assert BucketImages(HASTY).read(f"{s3.address}/a.png").data == b"one"


@pytest.mark.parametrize("failure", [500, 503, "close"])
def test_what_may_pass_is_tried_again(s3, failure):
    s3.put("a.png", b"one")
    failures = [failure] * 2
    s3.fails = lambda *_: failures.pop() if failures else None
    images = BucketImages(RemoteOptions(tries=3, backoff_s=0.01))
    assert images.read(f"{s3.address}/a.png").data == b"one"
    assert s3.counted() == {"GET": 3}


def test_a_server_that_is_not_there_is_one_sentence(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    reason, message = refusal(BucketImages(HASTY), f"{s3.address}/a.png")
    assert reason == "refused"
    assert message.startswith(f"{s3.address} cannot be reached (HTTP error: error sending request); check the network")


def test_without_the_extra_the_sentence_says_what_to_install(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert refusal(images, "gs://shop/a.png") == (
        "remote",
        "gs:// is read by obstore; pip install 'visrec[cloud]'",
    )


def test_a_forked_process_says_that_it_cannot_read_instead_of_waiting(s3):
    s3.put("a.png", b"one")
    program = (
        "import os, sys\n"
        "from vision_recs.errors import ImageError\n"
        "from vision_recs.remote.buckets import BucketImages\n"
        "from vision_recs.remote.options import RemoteOptions\n"
        "images = BucketImages(RemoteOptions())\n"
        "images.read(sys.argv[1])\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        images.read(sys.argv[1])\n"
        "    except ImageError as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    command = [sys.executable, "-c", program, f"{s3.address}/a.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "this process was forked from one that reads buckets; start it by spawn\n"
