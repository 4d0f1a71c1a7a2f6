"""The whole loop in a real browser: a click on the page arrives, is learned from, and the answer changes."""

import json
import time
import urllib.request

import pytest
from logged_shop import make_store, write_log

from vision_recs.feedback import EventLog, compact
from vision_recs.feedback.current import COUNTS, Days
from vision_recs.feedback.records import Event

expect = pytest.importorskip("playwright.sync_api").expect

ANSWERS = 2_500
PATIENCE_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    make_store(folder / "store")
    EventLog(folder / "events").close()  # with the secret of tests, before the server makes another
    (folder / "rules.toml").write_text("one_per = false\n[learn]\nshare = 1\ninterests = 0\nmost = 1\n")
    return folder


def cards(page):
    page.locator(".results[aria-busy=false]").wait_for()
    return [card.get_attribute("data-id") for card in page.locator(".card").all()]


def wait_for(get, wanted):
    until = time.monotonic() + PATIENCE_S
    while get() != wanted and time.monotonic() < until:
        time.sleep(0.1)
    assert get() == wanted


def clicks_on(events):
    """Return the query item and the item of each click of people in the folder *events*."""
    compact(events)
    days = Days.of(events)
    rows = [row for date in days.files for row in days.table(date, COUNTS).to_pylist()]
    return [(row["asked"], row["shown"]) for row in rows if row["clicks"]]


def test_a_click_arrives_is_learned_from_and_moves_an_answer(visrec, serve, folder, browser):
    store, events = folder / "store", folder / "events"
    with serve(store, folder / "log", "--events", events, "--rules", folder / "rules.toml") as server:

        def generation():
            with urllib.request.urlopen(f"{server.url}/v1/info") as response:
                return json.load(response)["generation"]

        page = browser.take()
        page.goto(f"{server.url}/?like=item000")
        before = cards(page)
        chosen = before[4]
        page.locator(f".card[data-id='{chosen}'] .open").click()
        page.wait_for_url("**like=" + chosen)
        wait_for(lambda: clicks_on(events), [("item000", chosen)])
        others = write_log(store, events, ANSWERS)
        done = visrec("learn", "--json", "--store", store, "--events", events)
        assert done.returncode == 0, done.stderr
        learned = json.loads(done.stdout)
        assert learned["published"] is True, learned["reason"]
        assert learned["clicks"] == 1 + sum(isinstance(record, Event) for record in others)
        wait_for(generation, 2)
        page.goto(f"{server.url}/?like=item000")
        after = cards(page)
        browser.give_back(page)
    assert after != before
    prices = {f"item{number:03}": 10 + number % 9 * 5 for number in range(60)}
    assert sum(prices[item] for item in after[:10]) < sum(prices[item] for item in before[:10])
    log = (folder / "log").read_text()
    assert "not kept" not in log, log
