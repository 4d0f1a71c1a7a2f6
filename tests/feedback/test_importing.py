"""Importing a shop's own logs: the same rows in each format are the same counts, once."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain_events import NOW, answer_of, click_on, counts_of

from vision_recs.errors import EventsError
from vision_recs.feedback.answers import is_answer
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.current import read_current
from vision_recs.feedback.event_log import EventFolder, EventLog
from vision_recs.feedback.importing import import_events

TIME = "2026-05-28T20:30:00Z"
ROWS = [
    {"type": "shown", "answer": "r1", "item": "b", "asked": "mug", "place": 2, "time": TIME, "shopper": "ann"},
    {"type": "shown", "answer": "r1", "item": "a", "asked": "mug", "place": 1, "time": TIME, "shopper": "ann"},
    {"type": "shown", "answer": "r1", "item": "d", "asked": "mug", "place": 4, "time": TIME, "shopper": "ann"},
    {"type": "click", "answer": "r1", "item": "d", "time": "2026-05-28T20:31:00Z"},
    {"type": "buy", "shopper": "ann", "item": "d", "time": "2026-05-28T21:31:00Z", "value": 12.5},
    {"type": "shown", "answer": 7, "item": "a", "asked": "cup", "time": TIME},
    {"type": "shown", "answer": 7, "item": "b", "asked": "cup", "time": TIME},
]


def write(path, rows):
    names = list({name: None for row in rows for name in row})
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        rows = [{**row, "answer": str(row["answer"]) if "answer" in row else None} for row in rows]
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_rows_of_every_format_become_counts(tmp_path, name):
    file, folder = write(tmp_path / name, ROWS), tmp_path / "events"
    report = import_events(folder, [file], now=NOW)
    assert (report.rows, report.answers, report.events, report.refused) == (7, 2, 7, 0)
    import_events(folder, [file], now=NOW)
    compacted = compact(folder, now=NOW)
    assert (compacted.answers, compacted.events, compacted.duplicates) == (2, 7, 9)
    found = {
        key[3:]: (row["impressions"], row["clicks"], row["buys"], row["value"])
        for key, row in counts_of(folder).items()
    }
    assert found == {
        ("mug", "a", 1): (1, 0, 0, 0.0),
        ("mug", "b", 2): (1, 0, 0, 0.0),
        ("mug", "d", 4): (1, 1, 1, 12.5),
        ("cup", "a", 1): (1, 0, 0, 0.0),
        ("cup", "b", 2): (1, 0, 0, 0.0),
    }
    assert all(row["score"] is None for row in counts_of(folder).values())
    (parts,) = read_current(EventFolder(folder)).days.values()
    answers = pq.read_table(folder / parts["answers"].path).to_pylist()
    assert all(is_answer(EventFolder(folder).read_secret(), row["id"]) for row in answers)
    assert not any("ann" in str(row) for row in answers)


def test_events_for_answers_of_visrec_join_them(tmp_path):
    with EventLog(tmp_path / "events") as log:
        answer = answer_of(log.secret, 1)
        log.append([answer])
        event = click_on(answer, "b")
    row = {"type": "click", "answer": answer.id, "item": "b", "time": event.time}
    import_events(tmp_path / "events", [write(tmp_path / "log.jsonl", [row])], now=NOW)
    compact(tmp_path / "events", now=NOW)
    assert {key[4]: row["clicks"] for key, row in counts_of(tmp_path / "events").items()} == {"a": 0, "b": 1, "c": 0}


def test_wrong_rows_are_refused_with_their_place_and_the_others_are_kept(tmp_path):
    file = write(
        tmp_path / "log.jsonl", [*ROWS[:1], {"type": "hover", "item": "a", "time": TIME}, {"item": "a"}, ROWS[1]]
    )
    report = import_events(tmp_path / "events", [file], now=NOW)
    assert (report.events, report.refused) == (2, 2)
    assert report.problems == [
        f"{file}:2: the type 'hover' is not one of shown, click, cart, buy, dismiss",
        f"{file}:3: the row has no time; write 2026-05-01T12:00:00Z, or seconds since 1970",
    ]


def test_times_and_places_of_pandas_are_read(tmp_path):
    """A column of times has nanoseconds; one of whole numbers, of which some are missing, has floats."""
    at = 1_780_000_200_000_000_123
    table = pa.table(
        {
            "type": ["shown", "shown", "shown"],
            "answer": ["r1", "r1", "r1"],
            "item": ["a", "b", "c"],
            "place": [1.0, 3.0, float("nan")],
            "time": pa.array([at] * 3, pa.timestamp("ns", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    written = table.set_column(4, "time", table["time"].cast(pa.timestamp("us"), safe=False))  # as of no zone
    pq.write_table(written, tmp_path / "naive.parquet")
    (tmp_path / "log.csv").write_text("type,answer,item,place,time\nshown,r1,a,1.0,1780000200\nshown,r1,b,1.5,1\n")
    for name, refused in (("log.parquet", 0), ("naive.parquet", 0), ("log.csv", 1)):
        report = import_events(tmp_path / "events", [tmp_path / name], now=NOW)
        assert (report.answers, report.refused) == (1, refused), report.problems
    compact(tmp_path / "events", now=NOW)
    assert {(key[4], key[5]) for key in counts_of(tmp_path / "events")} == {("a", 1), ("c", 2), ("b", 3)}
    (parts,) = read_current(EventFolder(tmp_path / "events")).days.values()
    (time,) = set(pq.read_table(tmp_path / "events" / parts["answers"].path)["time"].to_pylist())
    assert time == 1_780_000_200.0


def test_a_row_that_is_nested_too_deeply_is_refused_alone(tmp_path):
    file = write(tmp_path / "log.jsonl", ROWS[:1])
    file.write_text(file.read_text() + "[" * 200_000 + "\n" + json.dumps(ROWS[1]) + "\n")
    report = import_events(tmp_path / "events", [file], now=NOW)
    assert (report.events, report.refused) == (2, 1)
    assert report.problems == [f"{file}:2: the row is nested too deeply; an event is a flat object"]


def test_a_log_that_has_grown_adds_what_its_answers_show(tmp_path):
    def run(*rows):
        import_events(tmp_path / "events", [write(tmp_path / "log.jsonl", rows)], now=NOW)
        return compact(tmp_path / "events", now=NOW)

    run(ROWS[0])
    report = run(*ROWS[:3], ROWS[3])
    assert (report.answers, report.grown, report.left_out, report.events) == (0, 1, 0, 3)
    assert {key[4:]: row["clicks"] for key, row in counts_of(tmp_path / "events").items()} == {
        ("a", 1): 0,
        ("b", 2): 0,
        ("d", 4): 1,
    }
    again = run(*ROWS[:3], ROWS[3])
    assert (again.answers, again.grown, again.left_out, again.events, again.duplicates) == (0, 0, 0, 0, 5)
    other = run({**ROWS[0], "item": "x"}, {**ROWS[0], "item": "y", "place": 5})
    assert (other.grown, other.left_out) == (1, 1)
    assert {key[4:] for key in counts_of(tmp_path / "events")} == {("a", 1), ("b", 2), ("d", 4), ("y", 5)}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("is_at_once", [True, False])
def test_an_answer_with_rows_on_both_sides_of_midnight_is_one(tmp_path, order, is_at_once):
    rows = [{**ROWS[0], "time": "2026-05-27T23:59:59Z"}, {**ROWS[1], "time": "2026-05-28T00:00:01Z"}]
    for at in order:
        import_events(tmp_path / "events", [write(tmp_path / "log.jsonl", [rows[at]])], now=NOW)
        if not is_at_once:
            compact(tmp_path / "events", now=NOW)
    compact(tmp_path / "events", now=NOW)
    assert {key[4:] for key in counts_of(tmp_path / "events")} == {("a", 1), ("b", 2)}
    assert len({key[0] for key in counts_of(tmp_path / "events")}) == 1


def test_versions_that_are_imported_before_they_are_compacted_are_one_answer(tmp_path):
    for row in ROWS[:3]:
        import_events(tmp_path / "events", [write(tmp_path / "log.jsonl", [row])], now=NOW)
    assert compact(tmp_path / "events", now=NOW).answers == 1
    assert {key[4:] for key in counts_of(tmp_path / "events")} == {("a", 1), ("b", 2), ("d", 4)}


def test_two_items_at_one_place_are_told(tmp_path):
    file = write(tmp_path / "log.jsonl", [ROWS[0], {**ROWS[1], "place": 2}])
    report = import_events(tmp_path / "events", [file], now=NOW)
    assert report.problems == [f"{file}:2: the place 2 of the answer has the item 'b' already"]


def test_columns_that_mean_nothing_are_named(tmp_path):
    file = write(tmp_path / "log.csv", [{**row, "campaign": "x"} for row in ROWS])
    assert import_events(tmp_path / "events", [file], now=NOW).ignored == {"campaign"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("log.txt", b"", "log.txt: is not a .jsonl, .csv or .parquet file"),
        ("log.jsonl", b"{}\n[1]\n", "log.jsonl:2: is not a JSON object"),
        ("log.jsonl", b"\xff\n", "log.jsonl: cannot be read"),
        ("log.csv", b"type,item\nclick,a,b\n", "log.csv:2: has more cells than the header"),
        ("log.parquet", b"PAR1", "log.parquet: is not Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EventsError) as caught:
        import_events(tmp_path / "events", [tmp_path / name])
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_a_line_without_an_end_says_so(tmp_path, name):
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(EventsError, match=r": a line has more than 67,108,864 characters; break it up$"):
        import_events(tmp_path / "events", [tmp_path / name])


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(EventsError, match=r"none\.csv: cannot be read \(No such file or directory\)"):
        import_events(tmp_path / "events", [tmp_path / "none.csv"])
    assert not (tmp_path / "events").exists()
