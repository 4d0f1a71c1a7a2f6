"""`visrec events`, `learn`, `replay` and `outcomes` as a person runs them: from logs to learned answers and back."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from fake_shop import FakeEncoder
from logged_shop import START, make_store, write_log
from typer.testing import CliRunner
from visrec_cli.main import program

from vision_recs.errors import EventsError
from vision_recs.feedback import EventLog, compact
from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.records import Event

ANSWERS = 4_000


def text_of(page):
    """Return what the page in a file says."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.read_text("utf-8"), flags=re.DOTALL).split())


def json_of(done):
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A store, and the events of shoppers who like what is cheap: answers of ten items, of which half explore."""
    folder = tmp_path_factory.mktemp("feedback")
    make_store(folder / "index")
    write_log(folder / "index", folder / "events", ANSWERS)
    compact(folder / "events")
    return folder / "index", folder / "events"


@pytest.fixture
def own_shop(shop, tmp_path):
    return shutil.copytree(shop[0], tmp_path / "index"), shutil.copytree(shop[1], tmp_path / "events")


def folders(store, events):
    return ("--store", store, "--events", events)


def test_learning_publishes_what_helps_answers_follow_it_and_it_is_undone(visrec, own_shop, tmp_path):
    store, events = own_shop
    dry = visrec("learn", "--dry-run", *folders(store, events))
    assert dry.returncode == 0, dry.stderr
    assert "judged by 4,000 answers, as good as" in dry.stdout
    assert "clicks an answer" in dry.stdout
    assert dry.stdout.splitlines()[-1] == "dry run: not published"
    learned = json_of(visrec("learn", "--json", *folders(store, events)))
    assert learned["published"] is True
    assert learned["generation"] == 2
    assert learned["judged"]["difference"]["low"] > 0
    assert learned["weights"]["lower price"] > 0 or learned["weights"]["distance of price"] != 0

    def matches(*options):
        done = visrec("similar", "item000", "-k", "10", "--one-per", "item", "--json", "--store", store, *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def prices(*options):
        return [float(match["attributes"]["price"]) for match in matches(*options)]

    def ids(*options):
        return [match["id"] for match in matches(*options)]

    (tmp_path / "rules.toml").write_text("[learn]\n")
    assert sum(prices("--rules", tmp_path / "rules.toml")) < sum(prices())
    shown = visrec("similar", "item000", "--rules", tmp_path / "rules.toml", "--store", store)
    assert " learned" in shown.stdout
    rules = ("--rules", tmp_path / "rules.toml", "--one-per", "item", "--store", store)
    written = visrec("neighbors", tmp_path / "all.jsonl", "--nested", "-k", "10", *rules)
    assert written.returncode == 0, written.stderr
    lines = map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())
    neighbors = {line["item_id"]: [item for item, _ in line["neighbors"]] for line in lines}
    assert neighbors["item000"] == ids("--rules", tmp_path / "rules.toml") != ids()
    undone = json_of(visrec("learn", "--undo", "--json", "--store", store))
    assert undone == {"undone": True, "generation": 3}
    assert prices("--rules", tmp_path / "rules.toml") == prices()


def test_replay_tells_what_plain_answers_and_other_rules_would_have_brought(visrec, own_shop, tmp_path):
    plain = json_of(visrec("replay", "--plain", "--json", *folders(*own_shop)))
    assert plain["answers"] == ANSWERS
    assert plain["support"] == 1.0
    assert plain["would"]["low"] < plain["had"]["value"] < plain["would"]["high"]  # what was logged is nearly plain
    assert "not on the items around it" in plain["assumption"]
    (tmp_path / "rules.toml").write_text("one_per = false\n[[boost]]\nwhere = 'price < 30'\nby = 0.3\n")
    page = tmp_path / "page.html"
    cheap = visrec("replay", "--rules", tmp_path / "rules.toml", "--html", page, *folders(*own_shop))
    assert cheap.returncode == 1  # some cheap items are in no pool
    assert cheap.stderr.startswith(f"wrote {page}\n")
    assert "the log could have shown only" in cheap.stderr
    refused = text_of(page)
    assert "The log cannot tell. The log could have shown only" in refused
    assert f"the answers of the store under {tmp_path / 'rules.toml'}" in refused
    assert "clicks an answer" not in refused  # nobody should believe them
    (tmp_path / "rules.toml").write_text("one_per = false\n")
    same = visrec("replay", "--rules", tmp_path / "rules.toml", "--html", page, *folders(*own_shop))
    assert "would have had" in same.stdout
    assert same.stderr == f"wrote {page}\n"
    shown = text_of(page)
    assert f"{plain['answers']:,} logged answers" in shown
    assert "0 is within the bounds of the difference" in shown
    assert "cannot tell" not in shown
    assert page.read_text("utf-8").count('class="whisker"') == 3
    assert "http" not in page.read_text("utf-8")
    neither = visrec("replay", *folders(*own_shop))
    assert neither.returncode == 2
    assert "give either --plain, or --rules FILE or --baseline DIR" in neither.stderr


def test_outcomes_show_the_arms(visrec, own_shop, tmp_path):
    page = tmp_path / "page.html"
    found = json_of(visrec("outcomes", "--json", "--html", page, "--events", own_shop[1]))
    assert [(arm["name"], arm["answers"]) for arm in found["arms"]] == [("plain", 1_000), ("learned", 3_000)]
    assert found["explored_share"] == pytest.approx(0.5, abs=0.05)
    difference = found["differences"]["learned"]["clicks"]
    assert difference["low"] < 0 < difference["high"]
    assert found["clicks_by_place"][0] > found["clicks_by_place"][9]
    done = visrec("outcomes", "--events", own_shop[1])
    assert done.returncode == 0, done.stderr
    assert "learned against plain" in done.stdout
    text = page.read_text("utf-8")
    assert "<td>learned</td><td>3,000</td>" in text
    assert text.count('class="bar"') == len(found["clicks_by_place"])
    assert "http" not in text
    later = visrec("outcomes", "--since", "2030-01-01", "--events", own_shop[1])
    assert later.returncode == 1
    assert "has no answers of people yet" in later.stderr


def test_outcomes_tell_how_likely_places_are_looked_at_and_whether_models_are_right(own_shop, tmp_path):
    page = tmp_path / "page.html"
    place = ("--calibration", "--html", page, *folders(*own_shop))
    fit = json.loads(run("outcomes", "--json", *place).stdout)["fit"]
    looked = fit["examination"]
    assert len(looked) == 10
    assert looked[0] == 1.0
    assert looked[4] == pytest.approx(5**-0.7, rel=0.25)  # as the shoppers of this log look
    assert looked[9] == pytest.approx(10**-0.7, rel=0.35)
    tenths = fit["tenths"]
    assert sum(each["impressions"] for each in tenths) == 10 * ANSWERS
    assert [each["expected"] for each in tenths] == sorted(each["expected"] for each in tenths)
    assert tenths[-1]["had"] == pytest.approx(tenths[-1]["expected"], rel=0.15)
    assert tenths[-1]["had"] > 3 * tenths[0]["had"]
    text = run("outcomes", *place).stdout
    assert f"how likely each place is looked at: 1.00 {looked[1]:.2f}" in text
    bounds = f"{tenths[3]['low']:.4f} to {tenths[3]['high']:.4f}"
    assert f"{tenths[3]['expected']:.4f}                {tenths[3]['had']:.4f}       {bounds}" in text
    within = sum(each["low"] <= each["expected"] <= each["high"] for each in tenths)
    assert f"what was expected is within the bounds of {within} of 10 parts" in text
    shown = text_of(page)
    assert "How likely each place is looked at" in shown
    assert f"{tenths[3]['impressions']:,} {tenths[3]['expected']:.4f} {tenths[3]['had']:.4f} {bounds}" in shown
    assert "fit" not in json.loads(run("outcomes", "--json", *folders(*own_shop)).stdout)


def run(*arguments):
    return CliRunner().invoke(program(arguments), [str(argument) for argument in arguments])


def test_outcomes_by_a_group_and_since_a_date_tell_of_drift_and_of_the_encoder(own_shop, tmp_path):
    store, events = own_shop
    done = run("outcomes", "--group-by", "kind", "--changed-since", "2026-05-29", "--json", *folders(store, events))
    assert isinstance(done.exception, EventsError)  # nothing was before
    found = run("outcomes", "--group-by", "kind", "--json", *folders(store, events))
    groups = json.loads(found.stdout)["groups"]
    assert {(group["value"], group["arm"]) for group in groups} == {
        (f"kind{number}", arm) for number in range(4) for arm in ("plain", "learned")
    }
    assert sum(group["impressions"] for group in groups) == 10 * ANSWERS
    health = json.loads(found.stdout)["health"]
    assert health["dim"] == 12
    assert 0 < health["mean_cosine"] < 1
    write_log(store, events, 400, seed=2, start=START + 3 * 86_400)
    since = ("--changed-since", "2026-05-31")
    changed = json.loads(run("outcomes", "--json", *since, *folders(store, events)).stdout)["changed"]
    assert changed["differences"]["plain"]["clicks"]["low"] < 0 < changed["differences"]["plain"]["clicks"]["high"]
    assert changed["drift"]["queries"]["is_drift"] is False
    assert changed["drift"]["catalog"] is None
    page = tmp_path / "page.html"
    text = run("outcomes", *since, "--group-by", "kind", "--html", page, *folders(store, events)).stdout
    assert "queries: a classifier has an AUC of" in text
    assert "catalog: too few to tell whether they drift" in text
    assert "vectors: two images have a mean cosine of" in text
    shown = page.read_text("utf-8")
    assert "<td>kind3</td><td>learned</td>" in shown
    assert "<th>plain</th><th>before</th><th>since</th>" in shown
    assert "Of the store: two images have a mean cosine of" in shown
    for told in ("a classifier has an AUC of", "too few to tell whether they drift"):
        assert shown.count(told) == text.count(told) > 0


def test_the_clicks_judge_other_stores_and_teach_a_projection(own_shop, tmp_path):
    store, events = own_shop
    make_store(tmp_path / "other", FakeEncoder("other", turn=3))
    (tmp_path / "rules.toml").write_text("one_per = false\n")
    rules = ("--rules", tmp_path / "rules.toml")
    replayed = run("replay", "--baseline", tmp_path / "other", *rules, "--json", *folders(store, events))
    assert json.loads(replayed.stdout)["support"] == pytest.approx(1.0)
    assert run("replay", "--baseline", tmp_path / "other", "--plain", *folders(store, events)).exit_code == 2
    measured = run("evaluate", "--events", events, "--json", "--store", store)
    relevance = json.loads(measured.stdout)
    assert relevance["queries"] > 20
    both = run("evaluate", "--events", events, "--pairs", tmp_path / "rules.toml", "--store", store)
    assert both.exit_code == 2
    tuned = run("tune", "--events", events, "--dry-run", "--json", "--store", store)
    assert tuned.exit_code == 0, tuned.output
    assert json.loads(tuned.stdout)["published"] is False
    neither = run("tune", "--events", events, "--labels", "kind", "--store", store)
    assert neither.exit_code == 2


def test_similar_answers_a_shopper_of_the_log(own_shop):
    store, events = own_shop
    with EventLog(events) as log:
        now = START + ANSWERS
        ann = pseudonym(log.secret, "ann")
        log.append([Event(f"e{n}", "click", f"item{n:03}", now + n, shopper=ann) for n in (3, 12, 40)])
        log.append([Event("e99", "buy", "item021", now + 99, shopper=ann)])
    place = ("--store", store, "--events", events, "--one-per", "item", "--json")

    def answer(*arguments):
        done = run("similar", *arguments, *place)
        assert done.exit_code == 0, done.output
        return [json.loads(line)["id"] for line in done.stdout.splitlines() if line.startswith("{")]

    mine = answer("--shopper", "ann", "-k", "55")
    assert len(mine) > 50
    assert not {"item003", "item012", "item040", "item021"} & set(mine)
    beside = answer("item000", "--shopper", "ann")
    assert beside != answer("item000")
    assert "item021" not in answer("item000", "--shopper", "ann", "-k", "58")
    stranger = answer("--shopper", "nobody at all")
    prices = {f"item{number:03}": 10 + number % 9 * 5 for number in range(60)}
    assert sum(prices[item] for item in stranger) < 10 * 30  # shoppers of this log like what is cheap
    both = run("similar", "--shopper", "ann", "--history", "file", *place)
    assert both.exit_code == 2


def test_importing_counting_exporting_and_forgetting(visrec, tmp_path):
    recent = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    rows = [
        {"type": "shown", "answer": "r1", "item": "a", "asked": "q", "time": f"{recent}T10:00:00Z", "shopper": "ann"},
        {"type": "shown", "answer": "r1", "item": "b", "asked": "q", "time": f"{recent}T10:00:00Z", "shopper": "ann"},
        {"type": "click", "answer": "r1", "item": "b", "time": f"{recent}T10:00:20Z"},
        {"type": "wish", "answer": "r1", "item": "b", "time": f"{recent}T10:00:20Z"},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("events", "log.jsonl", "--export", "counts")
    done = visrec(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "imported 1 answers and 3 events of 4 rows; 1 were refused",
        "1 new answers and 3 new events",
    ]
    assert done.stderr.strip() == "log.jsonl:4: the type 'wish' is not one of shown, click, cart, buy, dismiss"
    (counts,) = (tmp_path / "counts").iterdir()
    assert sum(pq.read_table(counts)["clicks"].to_pylist()) == 1
    assert not set(pq.read_table(counts).column_names) & {"shopper", "id", "answer"}
    again = json_of(visrec(*arguments[:2], "--json", cwd=tmp_path))
    assert (again["answers"], again["events"], again["duplicates"]) == (0, 0, 4)
    assert [(day["date"], day["clicks"]) for day in again["days"]] == [(recent, 1)]
    (tmp_path / "old.jsonl").write_text(json.dumps({**rows[0], "answer": "r0", "time": "2020-01-01T10:00:00Z"}))
    kept = json_of(visrec("events", "old.jsonl", "--json", cwd=tmp_path))
    assert [day["date"] for day in kept["days"]] == ["2020-01-01", recent]
    left = json_of(visrec("events", "--retention", "30", "--json", cwd=tmp_path))
    assert (left["expired"], [day["date"] for day in left["days"]]) == (1, [recent])
    forgotten = json_of(visrec("events", "--forget", "ann", "--json", cwd=tmp_path))
    assert forgotten["forgotten"] == {"answers": 1, "events": 3}
    assert forgotten["days"] == []


def test_events_refuses_what_cannot_be_meant(tmp_path):
    EventLog(tmp_path / "events").close()
    (tmp_path / "log.jsonl").write_text(json.dumps({"type": "wish", "time": 1.0}) + "\n")

    def run(*arguments, events="events"):
        arguments = ["events", *arguments, "--events", str(tmp_path / events)]
        return CliRunner().invoke(program(arguments), arguments)

    nobody = run("--forget", "")
    assert (nobody.exit_code, "names nobody" in nobody.output) == (2, True)
    both = run("--verify", "--retention", "3")
    assert (both.exit_code, "--retention" in both.output) == (2, True)
    assert run(str(tmp_path / "log.jsonl")).exit_code == 1  # every row was refused
    assert json.loads(run(str(tmp_path / "log.jsonl"), "--json").stdout)["imported"]["refused"] == 1
    assert isinstance(run(str(tmp_path / "none.csv"), events="typo").exception, EventsError)
    assert not (tmp_path / "typo").exists()


def test_verify_names_what_was_altered(visrec, own_shop):
    assert visrec("events", "--verify", "--events", own_shop[1]).stdout.endswith(" is sound\n")
    with EventLog(own_shop[1]) as log:
        log.append([Event("e1", "click", "item000", START, shopper="s")])
    (path,) = (own_shop[1] / "open").iterdir()
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    done = visrec("events", "--verify", "--events", own_shop[1])
    assert done.returncode == 1
    assert f"{path}, line 1: it was cut off or altered" in done.stdout
    assert "has 1 damaged file(s) or line(s)" in done.stderr


def test_without_events_each_command_says_what_to_do(shop, tmp_path):
    for command in (["learn"], ["replay", "--plain"], ["outcomes"], ["events"], ["events", "--verify"]):
        store = ["--store", str(shop[0])] if command[0] in {"learn", "replay"} else []
        done = CliRunner().invoke(program(command), [*command, "--events", str(tmp_path / "none"), *store])
        assert isinstance(done.exception, EventsError)
        assert "is not a folder of events" in str(done.exception)
