"""When a host is asked: its pace, its pauses, and when it is left alone; by a clock of the test's own."""

import threading

import pytest

from vision_recs.errors import ImageError
from vision_recs.remote import hosts
from vision_recs.remote.hosts import Host, HostAway, Hosts
from vision_recs.remote.options import RemoteOptions

AWAY = ImageError("refused", "shop.example cannot be reached")
BUSY = ImageError("http-429", "too many requests")


class Clock:
    """A clock that goes on only where somebody waits."""

    def __init__(self):
        self.now = 100.0
        self.waits = []

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(hosts.random, "uniform", lambda low, high: (low + high) / 2)
    return Clock()


def host(clock, **options):
    return Host("shop.example", RemoteOptions(**{"tries": 2, **options}), wait=clock.wait, clock=clock)


def begun(asked, clock, count):
    """Return when the next *count* requests begin, in seconds from now."""
    start, times = clock.now, []
    for _ in range(count):
        with asked.turn():
            times.append(round(clock.now - start, 3))
    return times


def test_requests_begin_at_the_pace_and_not_all_at_once_after_a_break(clock):
    asked = host(clock, pace=4)
    assert begun(asked, clock, 4) == [0, 0.25, 0.5, 0.75]
    clock.now += 60
    assert begun(asked, clock, 3) == [0, 0.25, 0.5]


def test_a_host_may_want_a_slower_pace_and_never_gets_a_faster_one(clock):
    asked = host(clock, pace=4)
    asked.slow_down(0.5)
    asked.slow_down(100)
    assert begun(asked, clock, 3) == [0, 2, 4]


def test_a_pause_that_is_asked_for_holds_for_all_requests_and_slows_them_down(clock):
    asked = host(clock, pace=4)
    with asked.turn():
        began = clock.now
        asked.asked_for_rest(30, began, BUSY)
        asked.asked_for_rest(20, began - 1, BUSY)  # the answer to a request from before: the same pause
    assert begun(asked, clock, 3) == [30, 30.5, 31]
    assert (asked.asked_to_wait, asked.rested_s) == (1, 30)
    for _ in range(100):
        asked.answered()
    clock.now += 10
    assert begun(asked, clock, 3) == [0, 0.25, 0.5]


def test_a_host_that_wants_too_long_a_pause_is_left_alone_until_then(clock):
    asked = host(clock, max_rest_s=120)
    asked.asked_for_rest(3600, clock.now, BUSY)
    with (
        pytest.raises(HostAway, match=r"too many requests \(the host is not asked for 3600 s\)") as caught,
        asked.turn(),
    ):
        pass
    assert caught.value.reason == "http-429"
    assert clock.waits == []
    clock.now += 3500
    assert begun(asked, clock, 1) == [100]


def test_nobody_waits_for_longer_than_a_day(clock):
    asked = host(clock, max_rest_s=0)
    asked.asked_for_rest(1e12, clock.now, BUSY)
    clock.now += 86_400
    assert begun(asked, clock, 1) == [0]


def test_the_pauses_of_a_host_that_fails_double_until_it_answers(clock):
    asked = host(clock, backoff_s=0.5, max_rest_s=60, pace=1000)
    for _ in range(9):  # 5 images, 2 tries each, but for one
        asked.failed(clock.now, AWAY)
    assert begun(asked, clock, 1) == [0]
    waited = []
    for _ in range(4):
        asked.failed(clock.now, AWAY)
        waited += begun(asked, clock, 1)
    assert waited == [4, 8, 16, 32]
    asked.failed(clock.now, AWAY)
    with pytest.raises(HostAway, match=r"shop\.example cannot be reached"), asked.turn():
        pass
    clock.now += 64
    asked.answered()
    for _ in range(9):
        asked.failed(clock.now, AWAY)
    assert begun(asked, clock, 1) == [0]
    asked.failed(clock.now, AWAY)
    assert begun(asked, clock, 1) == [4]


def test_requests_that_began_before_a_pause_do_not_make_it_longer(clock):
    asked = host(clock, backoff_s=0.5)
    before = clock.now
    clock.now += 1
    for _ in range(10):
        asked.failed(clock.now, AWAY)
    for _ in range(50):
        asked.failed(before, AWAY)
    assert begun(asked, clock, 1) == [4]


def test_a_place_is_free_again_after_an_error(clock):
    asked = host(clock, per_host=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), asked.turn():
            raise ValueError("broken")


def test_each_host_has_its_own_pace_and_what_is_notable_is_told(clock):
    known = Hosts(RemoteOptions(), clock.wait)
    assert known.of("a.example") is known.of("a.example") is not known.of("b.example")
    known.of("a.example").asked_for_rest(40, 0.0, BUSY)
    assert known.notes() == ["a.example rested for 40 s in all; it asked for that 1 times"]


def test_no_more_than_so_many_threads_have_their_turn():
    asked = Host("shop.example", RemoteOptions(per_host=2, pace=1e6), wait=lambda _: None)
    inside, most, lock = [0], [0], threading.Lock()
    together = threading.Barrier(2, timeout=120)

    def work():
        for turn in range(20):
            with asked.turn():
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                if turn == 0:  # two threads are there together, twice
                    together.wait()
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [2]
