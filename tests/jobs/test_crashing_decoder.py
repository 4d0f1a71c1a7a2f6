"""A decoder that ends a run does so once: the next run decodes apart what was in its hands, and names the image."""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import broken_decoder
import pytest
from fake_shop import content, shop_of
from forks import Forks

from vision_recs.jobs import suspects as module
from vision_recs.jobs.suspects import Suspects
from vision_recs.store import Staged

SHOP = shop_of(12)
EVIL, ALSO_EVIL = SHOP.files["2.png"], SHOP.files["9.png"]
SCRIPT = Path(broken_decoder.__file__).with_name("broken_forks.py")


@pytest.fixture(scope="module")
def forks():
    with Forks(str(SCRIPT)) as forks:
        yield forks


@pytest.fixture
def run(forks, store):
    """Return the exit status of a run, and how many images it embedded."""
    said = store.with_name("said")

    def run(broken, **options):
        said.unlink(missing_ok=True)
        order = {"store": str(store), "variables": broken, "said": str(said), **options}
        ended = forks.run(order, kill_after_s=120)
        assert ended.status in {-signal.SIGSEGV, 0}
        return ended.status, int(said.read_text()) if said.exists() else -1

    return run


def reasons(store):
    return {image: reason for (_, image), reason in content(store).skipped.items()}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def test_the_image_that_crashes_the_decoder_is_found_skipped_and_not_tried_again(run, store):
    broken = broken_decoder.environment("segfault", EVIL)
    assert run(broken) == (-signal.SIGSEGV, -1)
    assert (store / "SUSPECTS").exists()
    assert run(broken)[0] == 0
    assert reasons(store) == {"2.png": "crashed"}
    assert len(content(store).items) == 11
    assert not (store / "SUSPECTS").exists()
    assert run(broken) == (0, 0)
    assert run(broken, again=True) == (0, 0)  # tried apart
    assert run(broken, turn=1) == (0, 11)  # another encoder decodes all anew, and this image apart
    assert reasons(store) == {"2.png": "crashed"}
    mended = {"PYTHONPATH": os.environ["PYTHONPATH"] + os.pathsep + str(broken_decoder.HERE)}
    assert run(mended, turn=1) == (0, 0)
    assert run(mended, turn=1, again=True) == (0, 1)
    assert reasons(store) == {}


def test_two_images_that_crash_the_decoder_are_found_one_after_the_other(run, store):
    broken = broken_decoder.environment("segfault", EVIL, ALSO_EVIL)
    statuses = [run(broken, workers=1)[0] for _ in range(3)]
    assert statuses == [-signal.SIGSEGV, -signal.SIGSEGV, 0]
    assert reasons(store) == {"2.png": "crashed", "9.png": "crashed"}


def test_an_image_that_is_decoded_for_ever_is_too_slow_for_the_run_after_the_one_that_was_ended(run, forks, store):
    broken = broken_decoder.environment("spin", EVIL)
    first = forks.begin({"store": str(store), "variables": broken, "said": "/dev/null"})
    for _ in range(1200):
        if (store / "SUSPECTS").exists() and hashlib.sha256(EVIL).digest() in (store / "SUSPECTS").read_bytes():
            break
        time.sleep(0.05)
    os.kill(first, signal.SIGKILL)
    assert forks.end(first).status == -signal.SIGKILL
    assert run(broken)[0] == 0
    assert reasons(store) == {"2.png": "too-slow"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_an_image_that_fills_the_memory_is_too_large_for_the_run_after(run, store):
    store.mkdir()
    (store / "LOCK").touch()
    (store / "SUSPECTS").write_bytes(hashlib.sha256(EVIL).digest())  # as a run leaves it that the system ended
    assert run(broken_decoder.environment("eat", EVIL)) == (0, 11)
    assert reasons(store) == {"2.png": "too-large"}


def test_a_damaged_file_of_suspects_harms_nothing(run, store):
    store.mkdir()
    (store / "LOCK").touch()
    (store / "SUSPECTS").write_bytes(bytes(32) + b"x" * 999)
    assert run(broken_decoder.environment("segfault")) == (0, 12)
    assert not (store / "SUSPECTS").exists()


def test_a_file_of_suspects_that_cannot_be_written_harms_nothing(run, store):
    (store / "SUSPECTS").mkdir(parents=True)
    (store / "LOCK").touch()
    assert run(broken_decoder.environment("segfault")) == (0, 12)


def test_what_a_run_before_left_stays_until_it_is_settled(tmp_path):
    path = tmp_path / "SUSPECTS"
    path.write_bytes(b"a" * 32 + b"b" * 32)
    suspects = Suspects(path, [b"c" * 32])
    assert [digest * 32 in suspects for digest in (b"a", b"b", b"c", b"d")] == [True, True, True, False]
    with suspects.watched():
        with suspects.decoding(Staged(1, "d", "d.png", None, None), b"d" * 32):
            assert path.read_bytes() == b"a" * 32 + b"b" * 32 + b"d" * 32
        with suspects.decoding(Staged(2, "e", "e.png", None, None), b"e" * 32):
            assert path.read_bytes() == b"a" * 32 + b"b" * 32 + b"e" * 32
    assert path.read_bytes() == b"a" * 32 + b"b" * 32
    suspects.settle()
    assert not path.exists()


def test_an_image_that_takes_long_is_named_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "_SLOW_S", 0)
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    suspects = Suspects(tmp_path / "SUSPECTS", [])
    with suspects.watched():
        for number in (1, 2):
            with suspects.decoding(Staged(number, "a", f"{number}.png", None, None), b"a" * 32):
                for _ in range(1000):
                    if len(caplog.messages) == number:
                        break
                    time.sleep(0.01)
                time.sleep(0.1)  # it could be named again
    assert [message.split()[0] for message in caplog.messages] == ["1.png", "2.png"]
