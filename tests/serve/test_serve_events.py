"""Answers are functions of query, shopper and hour, and are kept; events arrive, are on the disk, or are refused."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
from fake_shop import Shop, index
from starlette.testclient import TestClient

from vision_recs.errors import EventsError
from vision_recs.feedback import EventLog, compact, verify
from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.current import ANSWERS, EVENTS, Days
from vision_recs.feedback.day_files import answers_of, events_of
from vision_recs.feedback.exploration import Exploration
from vision_recs.feedback.records import with_id
from vision_recs.recommend import Learn, Policy, Rules
from vision_recs.recommend.rules import Pin
from vision_recs.serve import ServeOptions, create_app, recording
from vision_recs.serve.server import require_openable

ITEMS = [f"item{number:02}" for number in range(60)]
FIRST_HOUR = 494_444  # since 1970
EXPLORING = Policy(one_per=None, learn=Learn(exploration=Exploration(0.5), share=0.8))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    shop = Shop()
    for number, item in enumerate(ITEMS):
        shop.put(
            item, number, price=float(10 + number % 9), category=f"kind{number % 4}", variant_group=f"g{number // 2}"
        )
    folder = tmp_path_factory.mktemp("events") / "store"
    index(shop, folder)
    return folder


@pytest.fixture
def serving(store, tmp_path):
    """Return a function that serves the store, and keeps events in the folder `events`."""
    clients = []

    def serve(policy=None, **options):
        policy = policy or Policy(one_per=None)
        options = {"events": tmp_path / "events", "policy": policy, "poll_interval_s": 0.05, **options}
        client = TestClient(create_app(ServeOptions(store, **options)), raise_server_exceptions=False)
        clients.append(client.__enter__())
        return clients[-1]

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the clock of the server."""

    def set_clock(hour):
        monkeypatch.setattr("vision_recs.serve.state.time", lambda: 3600.0 * (FIRST_HOUR + hour))

    return set_clock


def ask(client, item="item00", **parameters):
    response = client.get("/v1/similar", params={"id": item, "k": 6, **parameters})
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer):
    return [match["id"] for match in answer["matches"]]


def kept(root):
    """Return the answers and the events of the folder *root*, as compaction finds them."""
    compact(root)
    days = Days.of(root)
    answers = [each for date in days.files for each in answers_of(days.table(date, ANSWERS))]
    return answers, [each for date in days.files for each in events_of(days.table(date, EVENTS))]


def test_an_answer_is_a_function_of_query_shopper_and_hour(serving, at, tmp_path):
    client, other_worker = serving(EXPLORING), serving(EXPLORING)
    at(0.2)
    first = ask(client, shopper="ann")
    assert len(first["answer"]) == 22
    assert ask(client, shopper="ann") == ask(other_worker, shopper="ann") == first
    assert ask(client, shopper="ann", explain=True)["answer"] == first["answer"]
    others = [ask(client, shopper="bob"), ask(client), ask(client, "item01", shopper="ann"), ask(client, k=7)]
    at(0.9)
    assert ask(client, shopper="ann") == first
    at(1.1)
    others.append(ask(client, shopper="ann"))
    assert len({answer["answer"] for answer in (first, *others)}) == 6
    answers, _ = kept(tmp_path / "events")
    assert {answer.id for answer in answers} == {answer["answer"] for answer in (first, *others)}
    by_id = {answer.id: answer for answer in answers}
    assert by_id[first["answer"]].shown == ids(first)
    assert by_id[first["answer"]].asked == "item00"
    assert by_id[others[1]["answer"]].shopper == ""
    assert "ann" not in {answer.shopper for answer in answers}


def test_caches_ask_again_in_the_next_hour_and_never_keep_what_a_shopper_gets(serving, at):
    client = serving()
    at(0.2)
    first = client.get("/v1/similar?id=item00")
    etag = {"if-none-match": first.headers["etag"]}
    assert client.get("/v1/similar?id=item00", headers=etag).status_code == 304
    at(1.2)
    assert client.get("/v1/similar?id=item00", headers=etag).status_code == 200
    assert client.get("/v1/similar?id=item00").json()["answer"] != first.json()["answer"]
    own = client.get("/v1/similar?id=item00&shopper=ann")
    assert own.headers["cache-control"] == "private, no-store"
    assert "etag" not in own.headers
    items = client.get("/v1/items?limit=1")
    at(2.2)
    assert client.get("/v1/items?limit=1", headers={"if-none-match": items.headers["etag"]}).status_code == 304


def test_nothing_explores_unless_the_rules_say_so(serving, tmp_path):
    client = serving()
    plain = [ids(ask(client, shopper=f"s{number}")) for number in range(20)]
    assert all(each == plain[0] for each in plain)
    answers, _ = kept(tmp_path / "events")
    assert {(answer.arm, answer.explored, answer.slate.share) for answer in answers} == {("plain", None, 0.0)}
    assert {len(answer.scores) for answer in answers} == {40}


def test_answers_explore_by_the_rules_in_their_arm_under_pins(serving, tmp_path):
    rules = Rules(pins=(Pin("item33", 2, "pin"),))
    learn = Learn(exploration=Exploration(0.5, (2, 6)), share=0.7)
    client = serving(Policy(one_per="variant_group", rules=rules, learn=learn))
    shown = [ask(client, shopper=f"s{number}") for number in range(400)]
    answers, _ = kept(tmp_path / "events")
    by_id = {answer.id: answer for answer in answers}
    arms = [answer.arm for answer in answers]
    assert arms.count("learned") == pytest.approx(280, abs=4 * (400 * 0.7 * 0.3) ** 0.5)
    explored = [answer for answer in answers if answer.explored is not None]
    assert {answer.arm for answer in explored} == {"learned"}
    assert len(explored) == pytest.approx(arms.count("learned") / 2, abs=4 * (arms.count("learned") / 4) ** 0.5)
    best = ids(ask(client, shopper=next(f"s{n}" for n in range(400) if by_id[shown[n]["answer"]].explored is None)))
    assert {ids(each)[0] for each in shown} == {best[0]}  # the first place is closed
    assert {ids(each)[1] for each in shown} == {"item33"}
    for each in shown:
        logged = by_id[each["answer"]]
        assert logged.shown == ids(each)
        assert len({int(item[4:]) // 2 for item in ids(each)}) == 6  # one of each group
        tried = [match for match in each["matches"] if _effect(match, "explored")]
        assert len(tried) == (logged.explored is not None)
        for match in tried:
            assert match["id"] not in best
            assert _effect(match, "explored")["position"] == match["rank"] > 2
    assert len({match["id"] for each in shown for match in each["matches"]}) > 15


def _effect(match, rule):
    return next((each for each in match["explanation"]["effects"] if each["rule"] == rule), None)


def test_events_are_on_the_disk_and_each_counts_once(serving, tmp_path):
    client = serving()
    answer = ask(client, shopper="ann", reports_shown=True)
    seen = [{"type": "shown", "answer": answer["answer"], "item": item} for item in ids(answer)[:3]]
    click = {"id": "e1", "type": "click", "answer": answer["answer"], "item": ids(answer)[1]}
    bought = {"type": "buy", "item": ids(answer)[1], "shopper": "ann", "value": 12.5, "quantity": 2}
    assert client.post("/v1/events", json={"events": [*seen, click]}).json() == {"recorded": 4, "refused": []}
    beacon = client.post(
        "/v1/events",
        content=json.dumps({"events": [click, bought]}),
        headers={"content-type": "text/plain;charset=UTF-8"},
    )
    assert (beacon.status_code, beacon.json()) == (202, {"recorded": 2, "refused": []})
    root = tmp_path / "events"
    (answers, events) = kept(root)
    assert [each.reports_shown for each in answers] == [True]
    assert sorted(each.type for each in events) == ["buy", "click", "shown", "shown", "shown"]
    (buy,) = [each for each in events if each.type == "buy"]
    with EventLog(root) as log:
        assert (buy.shopper, buy.value, buy.quantity) == (pseudonym(log.secret, "ann"), 12.5, 2.0)
    assert buy == with_id(replace(buy, id=""))  # of the pseudonym, not of the name
    days = Days.of(root)
    (date,) = days.files
    counted = days.table(date, "counts").to_pylist()
    assert {row["shown"]: (row["impressions"], row["clicks"], row["buys"]) for row in counted} == {
        ids(answer)[0]: (1, 0, 0),
        ids(answer)[1]: (1, 1, 1),
        ids(answer)[2]: (1, 0, 0),
    }


def test_what_is_wrong_is_refused_and_the_rest_is_kept(serving, at):
    at(0.2)
    client = serving()
    answer = ask(client)["answer"]
    events = [
        {"type": "click", "item": "item01", "answer": answer},
        {"type": "click", "item": "item01", "answer": "A" * 22},
        {"type": "wish", "item": "item01", "answer": answer},
        7,
        {"type": "click", "item": "item01", "answer": answer, "time": 1e12},
        {"type": "click", "item": "item01", "answer": answer, "time": 3600.0 * (FIRST_HOUR - 9 * 24)},
    ]
    response = client.post("/v1/events", json={"events": events})
    assert response.status_code == 202
    assert response.json()["recorded"] == 1
    assert [each["index"] for each in response.json()["refused"]] == [1, 2, 3, 4, 5]
    assert "was never given" in response.json()["refused"][0]["detail"]
    assert "`visrec events FILE` imports logs" in response.json()["refused"][4]["detail"]
    for body, status in (
        ({"events": []}, 400),
        ({"event": []}, 400),
        ({"events": [events[0]] * 1_001}, 400),
        ({"events": [{**events[0], "item": "x" * 300_000}]}, 413),
    ):
        assert client.post("/v1/events", json=body).status_code == status
    html = client.post("/v1/events", content="<p>", headers={"content-type": "text/html"})
    assert html.status_code == 415
    text = client.get("/metrics").text
    assert 'visrec_events_total{result="kept"} 1.0' in text
    assert 'visrec_events_total{result="refused"} 5.0' in text


def test_a_key_for_pages_sends_events_and_nothing_else(serving):
    client = serving(token="secret", events_key="for pages")
    body = {"events": [{"type": "click", "item": "item01", "shopper": "ann"}]}
    assert client.post("/v1/events?key=for+pages", json=body).status_code == 202
    bearer = {"authorization": "Bearer secret"}
    assert client.post("/v1/events", json=body, headers=bearer).status_code == 202
    assert client.post("/v1/events", json=body).status_code == 401
    wrong = client.post("/v1/events?key=wrong", json=body)
    assert (wrong.status_code, "the events key is wrong" in wrong.text) == (401, True)
    assert client.get("/v1/similar?id=item00&key=for+pages").status_code == 401
    assert client.get("/v1/similar?id=item00", headers={"authorization": "Bearer for pages"}).status_code == 401
    assert client.get("/v1/info", headers=bearer).json()["keeps_events"] is True
    open_to_all = serving(events_key="for pages")
    assert open_to_all.post("/v1/events", json=body).status_code == 401
    assert open_to_all.get("/v1/info").json()["keeps_events"] is False


def test_without_a_folder_of_events_nothing_is_kept(serving):
    client = serving(events=None)
    assert "answer" not in ask(client, shopper="ann")
    refused = client.post("/v1/events", json={"events": [{"type": "click", "item": "item01", "shopper": "ann"}]})
    assert refused.status_code == 403
    assert client.get("/v1/for/ann").status_code == 403
    assert client.get("/v1/info").json()["keeps_events"] is False


def test_answers_go_on_while_the_folder_of_events_is_lost(serving, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recording, "RETRY_S", 0)
    client = serving(EXPLORING)
    first = ask(client, shopper="ann")
    answers, _ = kept(tmp_path / "events")
    assert len(answers) == 1
    shutil.copytree(tmp_path / "events", tmp_path / "backup")
    shutil.rmtree(tmp_path / "events")
    with caplog.at_level(logging.INFO, "vision_recs.serve.recording"):
        lost = ask(client, shopper="bob")
        assert "answer" not in lost
        assert len(ids(lost)) == 6
        events = {"events": [{"type": "click", "item": ids(first)[0], "answer": first["answer"]}]}
        refused = client.post("/v1/events", json=events)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "0")
        assert not (tmp_path / "events").exists()  # a new folder would have another secret
        shutil.copytree(tmp_path / "backup", tmp_path / "events")
        assert "answer" in ask(client, shopper="cid")
        assert ask(client, shopper="ann")["answer"] == first["answer"]  # before her click is read, and an interest
        assert client.post("/v1/events", json=events).status_code == 202
    said = [record.getMessage() for record in caplog.records if record.name == recording.__name__]
    assert "answers and events are not kept" in said[0]
    assert said[-1] == "answers and events are kept again"
    assert list(verify(tmp_path / "events")) == []


def test_a_full_disk_stops_events_and_no_answers(serving, tmp_path, monkeypatch):
    client = serving()
    assert "answer" in ask(client)
    monkeypatch.setattr(recording, "RETRY_S", 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("vision_recs.feedback.event_log.os.write", full)
        assert "answer" not in ask(client, "item01")
        body = {"events": [{"type": "click", "item": "item01", "shopper": "ann"}]}
        assert client.post("/v1/events", json=body).status_code == 503
    assert "answer" in ask(client, "item02")
    answers, events = kept(tmp_path / "events")
    assert sorted(answer.asked for answer in answers) == ["item00", "item02"]
    assert events == []


def test_a_folder_that_holds_something_else_is_refused_at_the_start_and_one_that_cannot_be_made_is_not(store, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(EventsError, match="holds other files"):
        require_openable(ServeOptions(store, events=tmp_path / "photos"))
    (tmp_path / "file").touch()
    options = ServeOptions(store, events=tmp_path / "file" / "events")
    require_openable(options)
    with TestClient(create_app(options)) as client:
        assert "answer" not in ask(client)


def test_queries_of_every_kind_are_kept(serving, tmp_path):
    client = serving(EXPLORING)
    body = {"items": ["item00", "item05"], "k": 4, "shopper": "ann"}
    several = client.post("/v1/similar", json=body).json()
    history = {"history": [{"id": "item00"}, {"id": "item09"}, {"id": "item30"}], "k": 4}
    of_history = client.post("/v1/similar", json=history).json()
    unknown = client.post("/v1/similar", json={"items": ["nothing"]})
    assert unknown.status_code == 404
    by_id = {answer.id: answer for answer in kept(tmp_path / "events")[0]}
    assert by_id.keys() == {several["answer"], of_history["answer"]}
    assert by_id[several["answer"]].asked == ""
    assert by_id[several["answer"]].shown == ids(several)
    assert by_id[of_history["answer"]].shown == ids(of_history)


def test_the_events_folder_is_not_needed_to_go_back(serving, tmp_path):
    client = serving(EXPLORING)
    with_events = ids(ask(client, shopper="ann"))
    shutil.rmtree(tmp_path / "events")
    plain = serving(EXPLORING, events=None)
    assert len(set(ids(ask(plain))) & set(with_events)) >= 5
