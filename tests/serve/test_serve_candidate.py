"""Two stores side by side: a share of the shoppers gets answers of the candidate, until one command ends that."""

import json
import time

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, index
from starlette.testclient import TestClient
from typer.testing import CliRunner
from visrec_cli.main import program

from vision_recs.errors import EventsError, StoreError, StoreNotFound
from vision_recs.feedback import EventLog, compact, outcomes, read_counts
from vision_recs.feedback.candidates import DROPPED, end_candidate, ended_candidates, note_served, promoting
from vision_recs.feedback.current import ANSWERS, Days
from vision_recs.jobs import promote
from vision_recs.recommend import Learn, Policy, Recommender
from vision_recs.serve import ServeOptions, create_app
from vision_recs.serve.server import require_openable
from vision_recs.store import Store
from vision_recs.store.partitions import LIST
from vision_recs.vectors import normalize_rows

ITEMS = [f"item{number:02}" for number in range(30)]
PATIENCE_S = 120
SHOPPERS = [f"s{number}" for number in range(60)]


class RedEncoder(FakeEncoder):
    """Sees red mostly."""

    def encode(self, pixels):
        found = super().encode(pixels)
        return normalize_rows(found * np.resize([1.0, 0.2, 0.2], found.shape[1]).astype(found.dtype))[0]


@pytest.fixture
def shop():
    shop = Shop()
    for number, item in enumerate(ITEMS):
        shop.put(item, number)
    return shop


@pytest.fixture
def stores(shop, tmp_path):
    index(shop, tmp_path / "store")
    shop.put("new", 77)
    del shop.items["item29"]
    index(shop, tmp_path / "candidate", RedEncoder("other", turn=3))
    return tmp_path / "store", tmp_path / "candidate"


@pytest.fixture
def client(stores, tmp_path):
    options = ServeOptions(
        stores[0],
        policy=Policy(learn=Learn(share=0.5)),
        events=tmp_path / "events",
        candidate=stores[1],
        candidate_share=0.4,
        poll_interval_s=0.02,
    )
    with TestClient(create_app(options), raise_server_exceptions=False) as client:
        yield client


def ids(client, item="item00", **parameters):
    response = client.get("/v1/similar", params={"id": item, **parameters})
    assert response.status_code == 200, response.text
    return [match["id"] for match in response.json()["matches"]]


def expected(store, item="item00"):
    with Recommender.open(store) as recommender:
        return [match.id for match in recommender.similar(item)]


def run(*arguments):
    return CliRunner().invoke(program(arguments), [str(argument) for argument in arguments])


def wait_for(get, wanted):
    until = time.monotonic() + PATIENCE_S
    while get() != wanted and time.monotonic() < until:
        time.sleep(0.02)
    assert get() == wanted


def test_a_share_of_the_shoppers_gets_the_candidate_in_the_same_arms(client, stores, tmp_path):
    own, others = expected(stores[0]), expected(stores[1])
    assert own != others
    answers = {shopper: ids(client, shopper=shopper) for shopper in SHOPPERS}
    assert answers == {shopper: ids(client, shopper=shopper) for shopper in SHOPPERS}
    of_candidate = [shopper for shopper, answer in answers.items() if answer == others]
    assert all(answer in (own, others) for answer in answers.values())
    assert len(of_candidate) == pytest.approx(24, abs=4 * (60 * 0.4 * 0.6) ** 0.5)
    assert all(len(ids(client, "item29", shopper=shopper)) == 10 for shopper in SHOPPERS)  # the candidate lacks it
    clicks = [
        {"type": "click", "item": ids(client, shopper=shopper)[0], "answer": answer}
        for shopper in of_candidate
        for answer in [client.get(f"/v1/similar?id=item00&shopper={shopper}").json()["answer"]]
    ]
    assert client.post("/v1/events", json={"events": clicks}).json()["recorded"] == len(clicks)
    compact(tmp_path / "events")
    found = outcomes(tmp_path / "events")
    assert [arm.name for arm in found.arms] == ["plain", "learned", "candidate plain", "candidate learned"]
    assert found.counterparts == {
        "learned": "plain",
        "candidate plain": "plain",
        "candidate learned": "learned",
    }
    assert found.differences["candidate plain"]["clicks"].value == pytest.approx(0.5)  # of two answers, one each
    days = Days.of(tmp_path / "events")
    arms = [arm for date in days.files for arm in days.table(date, ANSWERS)["arm"].to_pylist()]
    assert sum(arm.startswith("candidate") for arm in arms) == 2 * len(of_candidate)
    counts = read_counts(tmp_path / "events")
    assert counts.clicks.sum() == 0  # what is learned is of the store


def test_one_command_drops_the_candidate_and_another_shows_it_again(client, stores, tmp_path):
    own, others = expected(stores[0]), expected(stores[1])
    shopper = next(shopper for shopper in SHOPPERS if ids(client, shopper=shopper) == others)
    events = ("--events", tmp_path / "events")
    done = run("candidate", stores[1], "--drop", *events)
    assert done.exit_code == 0, done.output
    assert "shown to nobody any more" in done.output.replace("\n", " ")
    wait_for(lambda: ids(client, shopper=shopper), own)
    assert json.loads(run("candidate", stores[1], "--again", "--json", *events).stdout)["state"] == "shown"
    wait_for(lambda: ids(client, shopper=shopper), others)
    assert run("candidate", stores[1], *events).exit_code == 2
    unknown = run("candidate", tmp_path / "nope", "--drop", *events)
    assert isinstance(unknown.exception, EventsError)
    assert f"those that were: {stores[1]}" in str(unknown.exception)


def test_one_command_promotes_the_candidate_on_a_running_server(client, stores, tmp_path):
    own, others = expected(stores[0]), expected(stores[1])
    answers = {shopper: ids(client, shopper=shopper) for shopper in SHOPPERS}
    done = run("candidate", stores[1], "--promote", "--store", stores[0], "--events", tmp_path / "events")
    assert done.exit_code == 0, done.output
    assert (expected(stores[0]), expected(stores[1])) == (others, own)
    wait_for(lambda: {tuple(ids(client, shopper=shopper)) for shopper in answers}, {tuple(others)})
    assert client.get("/v1/info").json()["encoder"] == "other"
    assert ids(client, "new", shopper="s1")
    with Store.open(stores[0]) as store:
        store.pin()


def test_what_cannot_be_promoted_is_refused_and_the_candidate_goes_on(client, stores, tmp_path):
    with pytest.raises(StoreError, match="is the store itself"):
        promote(stores[0], stores[0])
    with pytest.raises(StoreNotFound):
        promote(tmp_path / "nothing", stores[0])
    others = expected(stores[1])
    shopper = next(shopper for shopper in SHOPPERS if ids(client, shopper=shopper) == others)
    done = run("candidate", stores[1], "--promote", "--store", tmp_path / "none", "--events", tmp_path / "events")
    assert isinstance(done.exception, StoreNotFound)
    wait_for(lambda: ids(client, shopper=shopper), others)
    assert expected(stores[1]) == others


def test_what_stops_a_promotion_leaves_the_candidate_as_it_was(tmp_path):
    EventLog(tmp_path / "events").close()
    (tmp_path / "candidate").mkdir()
    (tmp_path / "store").mkdir()
    note_served(tmp_path / "events", tmp_path / "candidate")
    end_candidate(tmp_path / "events", tmp_path / "candidate", DROPPED)
    before = ended_candidates(tmp_path / "events")
    with pytest.raises(KeyboardInterrupt), promoting(tmp_path / "events", tmp_path / "candidate"):
        raise KeyboardInterrupt
    assert ended_candidates(tmp_path / "events") == before

    def exchange_and_stop():
        (tmp_path / "candidate").rename(tmp_path / "other")
        (tmp_path / "store").rename(tmp_path / "candidate")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), promoting(tmp_path / "events", tmp_path / "candidate"):
        exchange_and_stop()
    (how,) = ended_candidates(tmp_path / "events").values()
    assert how.startswith("promoted")


def test_a_candidate_in_several_stores_is_refused(tmp_path):
    shop = Shop()
    for number, item in enumerate(ITEMS[:4]):
        shop.put(item, number)
    index(shop, tmp_path / "store")
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / LIST).write_text("../store\n")
    options = ServeOptions(tmp_path / "store", events=tmp_path / "events", candidate=tmp_path / "several")
    with pytest.raises(StoreError, match="is in several stores, and could not be promoted"):
        require_openable(options)


def test_a_candidate_beside_an_engine_is_refused(tmp_path):
    events, candidate, engine = tmp_path / "events", tmp_path / "candidate", f"lance:{tmp_path / 'engine'}"
    options = ServeOptions(tmp_path / "store", engine=engine, events=events, candidate=candidate)
    with pytest.raises(StoreError, match="could not be promoted in the place of an engine"):
        require_openable(options)
    command = ["serve", "--engine", engine, "--events", str(events), "--candidate", str(candidate)]
    done = CliRunner().invoke(program(command), command)
    assert done.exit_code == 2
    assert "could not be promoted in the place of an engine" in " ".join(done.output.replace("│", " ").split())
