"""What a shopper may like: by several interests, never what was bought; for others what the shop's segments like."""

import time

import numpy as np
import pytest
from fake_shop import Shop, index, png
from starlette.testclient import TestClient

from vision_recs.feedback import compact
from vision_recs.recommend import Learn, Policy
from vision_recs.serve import ServeOptions, create_app, shoppers

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220)}
PATIENCE_S = 120


def ids(answer):
    return [match["id"] for match in answer["matches"]]


def color_of(item):
    return item.split("-")[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twelve red, twelve green and twelve blue items."""
    shop, random = Shop(), np.random.default_rng(3)
    for color, channels in COLORS.items():
        for number in range(12):
            pixels = np.clip(random.normal(channels, 25, (8, 8, 3)), 0, 255)
            item = f"{color}-{number:02}"
            shop.files[f"{item}.png"] = png(pixels)
            shop.put(item, f"{item}.png", price=float(number), variant_group=f"{color}{number // 2}")
    folder = tmp_path_factory.mktemp("for-you") / "store"
    index(shop, folder)
    return folder


@pytest.fixture
def client(store, tmp_path, monkeypatch):
    monkeypatch.setattr(shoppers, "_EVERY_S", 0.0)
    monkeypatch.setattr(shoppers, "_LIKED_EVERY_S", 0.0)
    policy = Policy(learn=Learn(interests=0.3, share=1.0))
    options = ServeOptions(store, events=tmp_path / "events", policy=policy, poll_interval_s=0.02, log_requests=True)
    with TestClient(create_app(options), raise_server_exceptions=False) as client:
        yield client


def tell(client, type_, *items, shopper):
    events = [{"type": type_, "item": item, "shopper": shopper} for item in items]
    assert client.post("/v1/events", json={"events": events}).status_code == 202


def wait_for(get, holds):
    """Return what *get* returns as soon as it *holds*: the log is read in the background."""
    until = time.monotonic() + PATIENCE_S
    while not holds(found := get()) and time.monotonic() < until:
        time.sleep(0.02)
    assert holds(found), found
    return found


def for_you(client, shopper, **parameters):
    response = client.get(f"/v1/for/{shopper}", params={"k": 8, **parameters})
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "private, no-store"
    return response.json()


def test_several_interests_and_never_what_was_bought(client):
    tell(client, "click", "red-00", "red-02", "blue-00", "blue-02", shopper="ann")
    tell(client, "buy", "blue-04", shopper="ann")
    tell(client, "dismiss", "red-07", shopper="ann")
    wait_for(lambda: for_you(client, "ann"), lambda answer: {*map(color_of, ids(answer)[:4])} == {"red", "blue"})
    never = {"blue-04", "blue-05", "red-07", "red-00", "red-01", "blue-00"}  # with their variants, and what was seen
    answer = wait_for(lambda: for_you(client, "ann", k=30), lambda answer: not never & set(ids(answer)))
    assert answer["interests"] == [] if "interests" in answer else True
    assert all(
        each.get("explanation", {}).get("terms", []) == [] for each in for_you(client, "ann", explain=True)["matches"]
    )
    other = wait_for(lambda: for_you(client, "bob"), lambda answer: len(ids(answer)) == 8)
    assert {color_of(item) for item in ids(other)} == {"red", "green", "blue"}  # of whom nothing is known


def test_whoever_is_not_known_gets_what_the_segments_like(client, tmp_path):
    def similar(item, shopper):
        return client.get(f"/v1/similar?id={item}&shopper={shopper}").json()

    first, second = ids(similar("green-00", "s"))[2:4]
    red = ids(similar("red-00", "s"))[1]
    for number in range(30):
        answer = similar("green-00", f"s{number}")["answer"]
        liked = [first, second] if number % 3 else [first]
        client.post("/v1/events", json={"events": [{"type": "click", "item": i, "answer": answer} for i in liked]})
    answer = similar("red-00", "r")["answer"]
    client.post("/v1/events", json={"events": [{"type": "click", "item": red, "answer": answer}]})
    compact(tmp_path / "events")
    found = wait_for(lambda: for_you(client, "new", k=3), lambda answer: ids(answer)[:1] == [first])
    assert {first, second, red} == set(ids(found))
    assert ids(for_you(client, "new", k=3, where=f'id != "{first}"'))[0] == second
    tell(client, "dismiss", first, shopper="new")
    wait_for(lambda: for_you(client, "new", k=36), lambda answer: first not in ids(answer))


def test_the_interests_of_a_shopper_move_similar_items_within_a_bound(client):
    before = client.get("/v1/similar?id=red-00&shopper=ann&k=30&one_per=item").json()
    tell(client, "click", "blue-00", "blue-02", "blue-04", shopper="ann")

    def again():
        return client.get("/v1/similar?id=red-00&shopper=ann&k=30&one_per=item").json()

    after = wait_for(again, lambda answer: ids(answer) != ids(before))
    place = {item: rank for rank, item in enumerate(ids(after))}
    was = {item: rank for rank, item in enumerate(ids(before))}
    blue, green = (sum(place[i] - was[i] for i in place if i in was and color_of(i) == c) for c in ("blue", "green"))
    assert blue < green
    effects = [effect for match in after["matches"] for effect in match["explanation"]["effects"]]
    assert {effect["rule"] for effect in effects} == {"interests"}
    assert max(abs(effect["score_delta"]) for effect in effects) <= 0.3
    assert after["answer"] != before["answer"]
    other = client.get("/v1/similar?id=red-00&shopper=bob&k=30&one_per=item").json()
    assert ids(other) == ids(before)


def test_no_name_of_a_shopper_is_in_the_log_or_in_the_folder(client, tmp_path, caplog):
    with caplog.at_level("INFO"):
        for_you(client, "ann.smith")
        tell(client, "click", "red-00", shopper="ann.smith")
        client.get("/v1/similar?id=red-00&shopper=ann.smith")
        assert client.get("/v1/for/ann.smith?k=0").status_code == 400
    assert any("/v1/for" in record.getMessage() for record in caplog.records)
    assert not any(
        "ann.smith" in record.getMessage() for record in caplog.records if record.name.startswith("vision_recs")
    )
    for path in (tmp_path / "events").rglob("*"):
        assert path.is_dir() or b"ann.smith" not in path.read_bytes()
