"""Changes over HTTP: durable when they are acknowledged, live at once, and no request is lost or mixed."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_shop import FakeEncoder, image, index, shop_of

import vision_recs.jobs
from vision_recs.jobs import IndexOptions, update
from vision_recs.jobs import index as run_index
from vision_recs.serve import Limits, ServeOptions, store_source, updates
from vision_recs.serve.reloader import Reloader
from vision_recs.store import Store, writer
from vision_recs.store.atomic_files import FileLock

PATIENCE_S = 60
TOKEN = "secret"


@pytest.fixture(autouse=True)
def _small_stores_have_deltas(monkeypatch):
    monkeypatch.setattr(writer, "_FEW_ITEMS", 0)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 50)
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))


@pytest.fixture
def shop():
    shop = shop_of(12)
    for number, item in enumerate(shop.items.values()):
        item.attributes.update(color=["red", "blue"][number % 2], title=f"mug of {number} parts")
    return shop


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def client(connect, store, shop):
    with connect(store, token=TOKEN, images=shop, limits=Limits(max_pending=3)) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        yield client


@pytest.fixture
def gate(monkeypatch):
    """Updates wait until it is open; it counts those that began."""
    gate, job = Gate(), vision_recs.jobs.update_together

    def gated(*arguments, **options):
        gate.pass_through()
        return job(*arguments, **options)

    monkeypatch.setattr(vision_recs.jobs, "update_together", gated)
    yield gate
    gate.opened.set()


class Gate:
    def __init__(self):
        self.reached = 0
        self.opened = threading.Event()

    def pass_through(self):
        self.reached += 1
        assert self.opened.wait(PATIENCE_S)


def store_of(snapshot):
    """Return the one store of a generation that is served."""
    (part,) = snapshot.opened.parts
    return part.store


def state_of(client):
    return client.app.__closure__[0].cell_contents._state


def change(client, *changes):
    return client.post("/v1/items:update", json={"changes": changes})


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def served(client):
    return client.get("/readyz").json()["generation"]


def price_of(store, item):
    with Store.open(store) as opened:
        return opened.attributes(item)["price"]


def test_a_price_is_live_after_its_acknowledgement(client, store):
    query = "/v1/similar?id=item000&k=3&where=price>90"
    assert client.get(query).json()["matches"] == []
    assert client.get("/v1/items/item001").json()["attributes"]["price"] == 1
    response = change(client, {"id": "item001", "price": 99.5})
    assert (response.status_code, response.json()) == (
        202,
        {"generation": 2, "changes": 1, "made": 1, "stale": 0, "unknown": 0, "skipped_images": [], "notes": []},
    )
    assert price_of(store, "item001") == 99.5
    until(lambda: served(client) == 2)
    (match,) = client.get(query).json()["matches"]
    assert (match["id"], match["attributes"]["price"]) == ("item001", 99.5)
    assert client.get("/v1/items/item001").json()["attributes"]["price"] == 99.5
    assert [item["id"] for item in client.get("/v1/items?where=price>90").json()["items"]] == ["item001"]
    facets = client.get("/v1/facets").json()
    (price,) = (facet for facet in facets["facets"] if facet["name"] == "price")
    assert (facets["generation"], price["items"], price["min"], price["max"]) == (2, 12, 0.0, 99.5)
    until(lambda: "visrec_update_duration_seconds_count 1.0" in client.get("/metrics").text)
    metrics = client.get("/metrics").text
    assert 'visrec_updates_total{result="success"} 1.0' in metrics
    until(lambda: 'visrec_changes_total{result="made"} 1.0' in client.get("/metrics").text)


def test_an_item_that_is_deleted_is_gone_everywhere(client):
    assert "item003" in client.get("/v1/similar?id=item000&k=20").text
    assert change(client, {"id": "item003", "deleted": True}, {"id": "nobody", "deleted": True}).json()["unknown"] == 1
    until(lambda: served(client) == 2)
    assert client.get("/v1/items/item003").status_code == 404
    assert len(client.get("/v1/similar?id=item000&k=20").json()["matches"]) == 10
    assert client.get("/v1/items", params={"q": "mug of 3"}).json()["items"] == []
    counts = {facet["name"]: facet["items"] for facet in client.get("/v1/facets").json()["facets"]}
    assert counts["color"] == 11


def test_a_new_item_is_found_by_its_image_and_its_words(client, shop):
    shop.files["new.png"] = shop.files["5.png"]
    response = change(
        client,
        {"id": "new", "image": "new.png", "title": "a plum of parts", "price": 3.5},
        {"id": "lost", "image": "nowhere.png"},
    )
    assert response.json()["skipped_images"] == [{"id": "lost", "image": "nowhere.png", "reason": "missing"}]
    until(lambda: served(client) == 2)
    assert client.get("/v1/similar?id=item005&k=1").json()["matches"][0]["id"] == "new"
    assert [item["id"] for item in client.get("/v1/items?q=plum").json()["items"]] == ["new"]
    assert client.get("/v1/items/lost").status_code == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([{"price": 3}], "the change 1 has no id"),
        ([{"id": "item001", "price": 3}, {"id": "item002", "version": "soon"}], "the changes:2: a version is"),
        ([{"id": "item001", "deleted": "perhaps"}], "deleted is true or false, not 'perhaps'"),
        ([{"id": "item001", "size": {"deep": 1}}], "the body is not valid"),
        ([], "the body is not valid"),
    ],
)
def test_a_bad_change_changes_nothing_and_says_why(client, store, body, sentence):
    response = client.post("/v1/items:update", json={"changes": body})
    assert response.status_code == 400
    assert sentence in response.json()["detail"]
    assert Store.open(store).generation == 1


def test_json_lines_and_their_faults(client, store):
    lines = b'{"id": "item001", "price": 7.5}\n\n{"id": "item002", "price": 8.5}\n'
    kind = {"content-type": "application/x-ndjson"}
    assert client.post("/v1/items:update", content=lines, headers=kind).json()["made"] == 2
    assert (price_of(store, "item001"), price_of(store, "item002")) == (7.5, 8.5)
    broken = client.post("/v1/items:update", content=lines + b"{", headers=kind)
    assert (broken.status_code, broken.json()["detail"][:26]) == (400, "the change 3 is not valid ")
    many = client.post("/v1/items:update", content=b'{"id": "a"}\n' * 10_001, headers=kind)
    assert (many.status_code, many.json()["detail"][:27]) == (400, "the body has 10001 changes;")
    assert client.post("/v1/items:update", content=b"id,price", headers={"content-type": "text/csv"}).status_code == 415
    assert client.post("/v1/items:update", content=bytes((4 << 20) + 1), headers=kind).status_code == 413


def test_a_late_change_is_stale(client, store):
    assert change(client, {"id": "item001", "price": 5.5, "version": 7}).json()["made"] == 1
    late = change(client, {"id": "item001", "price": 4.5, "version": 6}, {"id": "item002", "price": 6.5, "version": 1})
    assert (late.json()["made"], late.json()["stale"]) == (1, 1)
    assert (price_of(store, "item001"), price_of(store, "item002")) == (5.5, 6.5)


def test_a_server_without_a_token_changes_nothing(connect, store):
    with connect(store) as client:
        response = change(client, {"id": "item001", "price": 5.5})
    assert (response.status_code, response.json()["detail"][:24]) == (403, "this server has no token")
    with connect(store, token=TOKEN) as client:
        assert change(client, {"id": "item001", "price": 5.5}).status_code == 401
    assert price_of(store, "item001") == 1


def test_changes_wait_for_another_writer_for_some_seconds(client, store, monkeypatch):
    waited = []
    monkeypatch.setattr(updates, "_LOCK_WAIT_S", PATIENCE_S)
    monkeypatch.setattr(updates, "sleep", waited.append)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(store / "LOCK"):
            waiting = pool.submit(change, client, {"id": "item001", "price": 5.5})
            until(lambda: waited)
        assert waiting.result().json()["made"] == 1
    monkeypatch.setattr(updates, "_LOCK_WAIT_S", 0.05)
    with FileLock(store / "LOCK"):
        response = change(client, {"id": "item001", "price": 6.5})
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "another process is writing" in response.json()["detail"]
    assert price_of(store, "item001") == 5.5


def test_a_full_queue_turns_changes_down(client, store, gate):
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(change, client, {"id": f"item00{number}", "price": 50.5}) for number in range(3)]
        until(lambda: state_of(client).updates.pending == 3)
        response = change(client, {"id": "item003", "price": 50.5})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        gate.opened.set()
        assert [each.result().status_code for each in waiting] == [202] * 3
    assert [price_of(store, f"item00{number}") for number in range(4)] == [50.5, 50.5, 50.5, 3]


def test_text_in_a_price_is_said_to_whom_it_concerns(client):
    notes = change(client, {"id": "item001", "price": "ask", "in_stock": "soon"}).json()["notes"]
    assert [note.partition(";")[0] for note in notes] == [
        "'soon' of the item 'item001' in the attribute 'in_stock' does not say whether an item is in stock",
        "the attribute 'price' holds numbers, and text in 1 change, the first 'ask' of the item 'item001'",
    ]
    assert change(client, {"id": "item002", "price": 4}).json()["notes"] == []


def test_changes_whose_time_is_up_before_they_begin_are_not_made(connect, store, gate):
    with connect(store, token=TOKEN, limits=Limits(answer_timeout_s=0.3)) as client, ThreadPoolExecutor(2) as pool:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        first = pool.submit(change, client, {"id": "item001", "price": 50.5})
        until(lambda: gate.reached)
        second = pool.submit(change, client, {"id": "item002", "price": 50.5})
        assert "they may be made yet" in first.result().json()["detail"]
        assert "none was made" in second.result().json()["detail"]
        gate.opened.set()
        until(lambda: Store.open(store).generation == 2)
    assert (price_of(store, "item001"), price_of(store, "item002")) == (50.5, 2)


def test_many_requests_become_few_generations(connect, store, gate):
    with connect(store, token=TOKEN) as client, ThreadPoolExecutor(50) as pool:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        sent = [
            pool.submit(change, client, {"id": f"item{number % 12:03}", f"field{number}": number, "price": 50.5})
            for number in range(50)
        ]
        until(lambda: state_of(client).updates.pending == 50)
        gate.opened.set()
        answers = [each.result() for each in sent]
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["generation"] for answer in answers} <= {2, 3, 4}
    with Store.open(store) as opened:
        for number in range(50):
            assert opened.attributes(f"item{number % 12:03}")[f"field{number}"] == number


def test_changes_of_a_request_are_in_the_order_in_which_they_came(client, store, gate):
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(change, client, {"id": "item001", "price": 40.5})
        until(lambda: gate.reached)
        others = []
        for number, price in enumerate((41.5, 42.5), 2):
            others.append(pool.submit(change, client, {"id": "item001", "price": price}))
            until(lambda number=number: len(state_of(client).updates._waiting) == number - 1)
        gate.opened.set()
        generations = [each.result().json()["generation"] for each in (first, *others)]
    assert generations == [2, 3, 3]
    assert price_of(store, "item001") == 42.5


def test_a_request_that_cannot_be_carried_out_does_not_harm_those_beside_it(client, store, gate):
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(change, client, {"id": "item001", "price": 40.5})
        until(lambda: gate.reached)
        every = pool.submit(change, client, *({"id": f"item{number:03}", "deleted": True} for number in range(12)))
        until(lambda: len(state_of(client).updates._waiting) == 1)
        last = pool.submit(change, client, {"id": "item002", "price": 41.5}, {"id": "nobody", "price": 1})
        until(lambda: len(state_of(client).updates._waiting) == 2)
        gate.opened.set()
        assert first.result().json()["generation"] == 2
        assert (every.result().status_code, every.result().json()["detail"][:21]) == (422, "the changes leave no ")
        assert (last.result().json()["made"], last.result().json()["unknown"]) == (1, 1)
    assert (price_of(store, "item001"), price_of(store, "item002")) == (40.5, 41.5)


def test_a_server_that_stops_finishes_what_it_makes_and_turns_down_what_waits(client, store, gate):
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(change, client, {"id": "item001", "price": 40.5})
        until(lambda: gate.reached)
        second = pool.submit(change, client, {"id": "item002", "price": 41.5})
        until(lambda: len(state_of(client).updates._waiting) == 1)
        closing = pool.submit(client.portal.call, state_of(client).updates.close)
        assert (second.result().status_code, second.result().headers["retry-after"]) == (503, "5")
        assert change(client, {"id": "item003", "price": 42.5}).status_code == 503
        gate.opened.set()
        closing.result()
        assert first.result().status_code == 202
    assert [price_of(store, f"item00{number}") for number in (1, 2, 3)] == [40.5, 2, 3]


def test_a_reload_reads_what_changed_and_nothing_else(store, shop, monkeypatch):
    read = []
    digest = store_source.sha256_file
    monkeypatch.setattr(store_source, "sha256_file", lambda path: read.append(path) or digest(path))
    run_index(shop, store, encoder=FakeEncoder(), options=IndexOptions(index_type="hnsw"))
    server = Reloader(ServeOptions(store))
    try:
        old = server.snapshot.recommender.index.approximate.candidates
        server.snapshot.load_item_search()
        (kept,) = server.snapshot.items.attributes_of(["item002"]).values()
        update([{"id": "item001", "price": 99.5}], store)
        assert asyncio.run(server.reload()) is True
        new = server.snapshot
        assert read == [store_of(new).layout.items(store_of(new).generation)]
        assert new.recommender.index.approximate.candidates is old
        assert new.items.attributes_of(["item002"])["item002"] is kept
        assert (new.search_generation, new.recommender.index.source[1]) == (store_of(new).generation,) * 2
        (match,) = new.recommender.similar("item000", k=3, where="price > 90")
        assert match.id == "item001"
    finally:
        server.close()


def test_what_is_kept_of_the_generation_before_is_nothing_that_changed(store, shop):
    server = Reloader(ServeOptions(store, images=shop))
    shop.files["other.png"] = shop.files["5.png"]
    try:
        for changes in (
            [{"id": "item001", "image": "other.png"}],
            [{"id": "item005", "deleted": True}],
            [{"id": "item005", "image": "5.png", "price": 7.5}, {"id": "item002", "image": "2.png", "color": "green"}],
            [{"id": "item001", "image": "1.png"}],
        ):
            items = server.snapshot.items
            digests = [image.digest for item in items.ids() for image in items.images(item)]
            items.rows(items.positions().tolist(), limit=2)
            items.positions_of(digests)
            items.match_attributes([(item, image.image) for item in items.ids() for image in items.images(item)])
            update(changes, store, encoder=FakeEncoder(), images=shop)
            assert asyncio.run(server.reload()) is True
            items, fresh = server.snapshot.items, store_of(server.snapshot)
            assert items.ids() == fresh.ids()
            pairs = [(item, image.image) for item in fresh.ids() for image in fresh.images(item)]
            positions = fresh.positions().tolist()
            assert [items.images(item) for item in items.ids()] == [fresh.images(item) for item in fresh.ids()]
            assert items.attributes_of(fresh.ids()) == fresh.attributes_of(fresh.ids())
            assert items.match_attributes(pairs) == fresh.match_attributes(pairs)
            assert items.rows(positions, limit=2) == fresh.rows(positions, limit=2)
            digests = [image.digest for item in fresh.ids() for image in fresh.images(item)]
            assert items.positions_of(digests) == fresh.positions_of(digests)
    finally:
        server.close()


def test_what_is_kept_is_right_where_another_generation_took_the_place_of_the_last(store):
    first = (store / "CURRENT").read_bytes()
    server = Reloader(ServeOptions(store))
    try:
        server.snapshot.load_item_search()
        update([{"id": "item001", "price": 99.5, "title": "a plum"}], store)
        assert asyncio.run(server.reload()) is True
        assert server.snapshot.items.attributes_of(["item001"])["item001"]["price"] == 99.5
        (store / "CURRENT").write_bytes(first)  # as a person goes back
        update([{"id": "item002", "price": 98.5}], store)
        assert asyncio.run(server.reload()) is True
        assert server.snapshot.items.attributes_of(["item001"])["item001"]["price"] == 1
        assert server.snapshot.item_search.search("plum", 3) == []
        (price,) = (facet for facet in server.snapshot.facets.every if facet.name == "price")
        assert price.max == 98.5
    finally:
        server.close()


def test_the_encoder_is_loaded_once_for_changes_queries_and_generations(client, shop, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: loaded.append(name) or FakeEncoder(name)
    )
    for number, generation in ((20, 2), (21, 3)):
        shop.files["new.png"] = image(number)
        assert change(client, {"id": f"new {number}", "image": "new.png"}).json()["generation"] == generation
        until(lambda generation=generation: served(client) == generation)
        answer = client.post("/v1/similar/image", content=image(number), headers={"content-type": "image/png"})
        assert answer.json()["matches"][0]["id"] == f"new {number}"
    assert loaded == ["fake"]


def test_the_old_search_answers_until_that_of_a_new_base_is_ready(client, monkeypatch):
    until(lambda: client.get("/v1/facets").status_code == 200)
    gate, build = Gate(), store_source.open_item_search

    def gated(*arguments, **options):
        gate.pass_through()
        return build(*arguments, **options)

    monkeypatch.setattr(store_source, "open_item_search", gated)
    monkeypatch.setattr(writer, "_MOST_CHANGED", 0)
    change(client, {"id": "item003", "deleted": True}, {"id": "item004", "title": "a plum", "price": 99.5})
    with contextlib.ExitStack() as stack:
        stack.callback(gate.opened.set)
        until(lambda: gate.reached)
        assert served(client) == 2
        old = client.get("/v1/facets")
        assert old.json()["generation"] == 2  # facets do not wait
        found = client.get("/v1/items", params={"q": "mug of"}).json()["items"]
        assert {item["id"] for item in found} == {f"item{number:03}" for number in range(12) if number != 3}
        assert len(client.get("/v1/items?where=price>90").json()["items"]) == 1
    until(lambda: client.get("/v1/facets").headers["etag"] != old.headers["etag"])
    assert [item["id"] for item in client.get("/v1/items?q=plum").json()["items"]] == ["item004"]


def test_no_request_is_lost_or_mixed_while_changes_come(connect, store):
    with connect(store, token=TOKEN) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        change(client, *({"id": f"item{number:03}", "price": 100} for number in range(12)))
        until(lambda: served(client) == 2)
        done = threading.Event()

        def ask(path):
            answers = []
            while not done.is_set():
                response = client.get(path)
                assert response.status_code == 200, response.text
                found = response.json()
                prices = {each["attributes"]["price"] for each in found.get("matches") or found["items"]}
                assert len(prices) == 1
                answers.append((found["generation"], prices.pop()))
            return answers

        with ThreadPoolExecutor(3) as pool:
            paths = ("/v1/similar?id=item000&k=11", "/v1/similar?id=item001&k=11&where=price>=100", "/v1/items?q=mug")
            asked = [pool.submit(ask, path) for path in paths]
            for price in range(101, 116):
                changes = ({"id": f"item{number:03}", "price": price} for number in range(12))
                assert change(client, *changes).json()["generation"] == price - 98
            until(lambda: served(client) == 17)
            done.set()
            for each in asked:
                answers = each.result()
                assert answers == sorted(answers)
                assert all(price == generation + 98 for generation, price in answers)
