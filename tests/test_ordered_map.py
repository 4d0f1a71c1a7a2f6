"""`ordered_map`: results in order, a bounded number of tasks ahead, and errors where they are due."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vision_recs.ordered_map import ordered_map


def test_results_come_in_the_order_of_their_input():
    def slower_first(number):
        time.sleep(0.001 * (9 - number % 10))
        return number * 2

    with ThreadPoolExecutor(4) as pool:
        assert list(ordered_map(pool, slower_first, range(30), window=5)) == list(range(0, 60, 2))
        assert list(ordered_map(pool, slower_first, [], window=5)) == []


def test_no_more_than_the_window_is_taken_ahead_of_the_consumer():
    taken = []

    def things():
        for number in range(20):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(pool, lambda number: number, things(), window=3)
        assert taken == []
        for number in range(20):
            assert next(results) == number
            assert len(taken) == min(20, number + 4)


def test_an_error_is_raised_where_its_result_was_due_and_the_rest_is_cancelled():
    done, gate = [], threading.Event()

    def work(number):
        if number == 2:
            raise ValueError("two")
        if number == 3:
            gate.wait(10)
        done.append(number)
        return number

    with ThreadPoolExecutor(1) as pool:
        results = ordered_map(pool, work, range(9), window=6)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(results)
        gate.set()
    assert set(done) <= {0, 1, 3}
