"""Images are decoded in a process of their own: whatever happens there is an ImageError here, and the next works."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hostile_decoders import obey

from vision_recs.errors import DecoderUnavailable, ImageError
from vision_recs.images import DecoderProcess, canary_image, decode, load, thumbnail
from vision_recs.types import PreprocessConfig

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
CROP = PreprocessConfig((64, 48), "crop", 70, "bicubic", (0, 0, 0), (1, 1, 1))


@pytest.fixture
def process():
    with contextlib.closing(DecoderProcess(max_seconds=5)) as process:
        yield process


@pytest.fixture
def hasty_process():
    with contextlib.closing(DecoderProcess(max_seconds=1)) as process:
        yield process


def error_of(process, data, most=100):
    with pytest.raises(ImageError) as caught:
        process.run(obey, data, most=most)
    assert process.run(obey, b"abc", most=100) == b"cba"
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    ("data", "how"),
    [
        (b"segfault", "the decoder ended (SIGSEGV); save the image anew"),
        (b"kill", "the decoder ended (SIGKILL); save the image anew"),
        (b"leave:3", "the decoder ended (status 3); save the image anew"),
        (b"leave:0", "the decoder ended (status 0); save the image anew"),
        (b"fail:secret", "the decoder failed (ZeroDivisionError); save the image anew"),
    ],
)
def test_a_decoder_that_crashes_is_replaced(process, data, how):
    assert error_of(process, data) == ("crashed", how)


@pytest.mark.parametrize("data", [b"spin", b"sleep"])
def test_a_decoder_that_does_not_end_is_ended(hasty_process, data):
    assert error_of(hasty_process, data) == ("too-slow", "decoding took more than 1 s; save the image anew")


def test_processor_time_counts_for_each_image_anew():
    with contextlib.closing(DecoderProcess(max_seconds=4)) as process:  # 24 on the wall: the machine may be busy
        for _ in range(5):
            assert process.run(obey, b"work:0.9", most=10) == b"done"


def test_a_process_that_was_killed_between_two_images_is_replaced(process):
    assert process.run(obey, b"abc", most=100) == b"cba"
    process._process.kill()
    process._process.wait()
    assert process.run(obey, b"abc", most=100) == b"cba"


@LINUX
def test_memory_is_limited(process):
    assert error_of(process, b"eat:%d" % (1 << 40))[0] == "too-large"
    assert error_of(process, b"malloc:%d" % (1 << 40))[0] == "crashed"


@LINUX
def test_the_limit_on_memory_is_the_one_that_was_asked_for():
    spare = 2**29 + (os.cpu_count() or 1) * 2**24
    for size, fits in ((2**27, True), (2**27 + spare + 2**26, False)):
        with contextlib.closing(DecoderProcess(max_bytes=2**27)) as process:
            if fits:
                assert process.run(obey, b"eat:%d" % size, most=10) == b"\0"
            else:
                assert error_of(process, b"eat:%d" % size)[0] == "too-large"


def test_an_error_of_the_decoder_is_the_same_as_here(process):
    assert error_of(process, "refuse:it ends too early, ä".encode()) == ("truncated", "it ends too early, ä")


def test_what_a_decoder_prints_is_no_reply(process):
    assert process.run(obey, b"chatter:+\0\0\0\0\0\0\0\x05hello", most=100) == b"quiet"


def test_a_reply_that_is_longer_than_it_may_be_is_not_read(process):
    assert process.run(obey, b"long:70000", most=70_000) == bytes(70_000)
    assert error_of(process, b"long:70001", most=70_000)[0] == "crashed"


def test_pixels_and_thumbnails_are_those_of_this_process(process, encode):
    data = encode(canary_image(), "JPEG", quality=90)
    assert np.array_equal(process.load(data, CROP), load(data, CROP))
    assert process.thumbnail(data, max_side=100) == thumbnail(decode(data), max_side=100)
    for call in (lambda: process.load(data, CROP, max_pixels=9), lambda: process.thumbnail(b"GIF89a", max_side=9)):
        with pytest.raises(ImageError):
            call()
    with pytest.raises(ImageError, match="over the limit of 9;"):
        process.load(data, CROP, max_pixels=9)


def test_several_threads_get_their_own_results(process):
    results = {}

    def work(number):
        for turn in range(20):
            text = b"%d-%d" % (number, turn)
            results[text] = process.run(obey, text, most=100)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(result == text[::-1] for text, result in results.items())


def test_a_process_that_cannot_start_is_not_the_fault_of_the_image(process, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DecoderUnavailable, match=r"can be started \(No such file or directory\)"):
        process.run(obey, b"abc", most=100)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DecoderUnavailable, match=r"ended while it started \(status 1\)"):
        process.run(obey, b"abc", most=100)


def test_it_ends_with_the_program():
    code = (
        "import os, sys; from hostile_decoders import obey; from vision_recs.images import DecoderProcess\n"
        "process = DecoderProcess(); process.run(obey, b'abc', most=9)\n"
        "print(process._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    child = int(done.stdout)
    for _ in range(600):
        if not Path(f"/proc/{child}").exists() or "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            return
        threading.Event().wait(0.1)
    raise AssertionError("the process goes on without the program")
