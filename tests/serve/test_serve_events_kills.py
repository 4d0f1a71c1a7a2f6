"""Servers that are killed while events arrive: what was acknowledged is there, once."""

import json
import random
import threading
import time
import urllib.request
from http.client import HTTPException

import pytest
from logged_shop import make_store

from vision_recs.feedback import compact
from vision_recs.feedback.current import EVENTS, Days

PATIENCE_S = 60


class Sender(threading.Thread):
    """Sends twenty events at a time, the last two twice, from number *first* on, until the server is gone."""

    def __init__(self, url, first):
        super().__init__()
        self.url, self.acknowledged = url, first

    def run(self):
        try:
            while True:
                numbers = range(self.acknowledged, self.acknowledged + 20)
                events = [{"id": f"e{n}", "type": "click", "item": "item001", "shopper": "s"} for n in numbers]
                body = json.dumps({"events": [*events, *events[-2:]]}).encode()
                request = urllib.request.Request(f"{self.url}/v1/events", body, {"content-type": "application/json"})
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                    assert json.load(response) == {"recorded": 22, "refused": []}
                self.acknowledged += 20
        except (OSError, HTTPException):
            pass


@pytest.mark.parametrize("kills", [pytest.param(2), pytest.param(1_000, marks=pytest.mark.nightly)])
def test_no_acknowledged_event_is_lost_or_counted_twice(tmp_path, serving_forks, kills):
    make_store(tmp_path / "store")
    chance, acknowledged = random.Random(kills), 0
    for number in range(kills):
        with serving_forks.serve(tmp_path / "store", tmp_path / "log", "--events", tmp_path / "events") as url:
            sender = Sender(url, acknowledged)
            sender.start()
            until = time.monotonic() + PATIENCE_S
            while sender.acknowledged == acknowledged and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(chance.random() * 0.1)  # any moment is a good one
        sender.join(PATIENCE_S)
        assert sender.acknowledged > acknowledged
        acknowledged = sender.acknowledged
        if number % 20 == 0:  # each of them reads all events of the day
            compact(tmp_path / "events")
    compact(tmp_path / "events")
    days = Days.of(tmp_path / "events")
    ids = [each for date in days.files for each in days.table(date, EVENTS)["id"].to_pylist()]
    assert len(ids) == len(set(ids))
    assert {f"e{number}" for number in range(acknowledged)} <= set(ids)
