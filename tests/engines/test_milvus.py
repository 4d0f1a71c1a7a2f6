"""What is of Milvus alone: how it writes conditions, what it cannot hold, old answers, files, and addresses."""

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
import pyarrow as pa
import pytest
from fake_shop import FakeEncoder, Shop, index, shop_of
from hypothesis import given
from random_filters import texts

from vision_recs.engines import PublishOptions, open_engine, publish, rollback
from vision_recs.engines.base import Column, ColumnTest, Schema, connect
from vision_recs.engines.items import EngineItems
from vision_recs.engines.milvus import documents, rows, state, table
from vision_recs.engines.milvus.address import Address
from vision_recs.engines.milvus.client import Connection
from vision_recs.engines.milvus.dialect import LONGEST_TEXT, NO_NUMBER, NO_TEXT, MilvusDialect
from vision_recs.errors import EngineDamaged, EngineUnavailable, NothingPublished, PublishRefused, UnknownEngine
from vision_recs.filters import Filter
from vision_recs.types import SearchRequest


@pytest.fixture
def uri(tmp_path):
    pytest.importorskip("milvus_lite")
    return f"milvus:{tmp_path / 'engine.db'}"


@pytest.fixture
def store(tmp_path):
    index(shop_of(10), tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("test", "expression"),
    [
        (ColumnTest("a__text", "==", 'it\'s "\\"\n'), '(a__text == "it\'s \\"\\\\\\"\\n")'),
        (ColumnTest("a__text", "<", "b"), '(a__text < "b")'),
        (ColumnTest("a__text", ">=", "b"), f'(a__text >= "b" and a__text != "{NO_TEXT}")'),
        (ColumnTest("a__text", "in", ("b", NO_TEXT)), '(a__text in ["b"])'),
        (ColumnTest("a__text", "in", (NO_TEXT,)), '(key == "")'),
        (ColumnTest("a__text", "startswith", "ab"), '(a__text >= "ab" and a__text < "ac")'),
        (ColumnTest("a__text", "startswith", "a\ud7ff"), '(a__text >= "a\ud7ff" and a__text < "a\ue000")'),
        (ColumnTest("a__text", "startswith", "a\U0010ffff"), '(a__text >= "a\U0010ffff" and a__text < "b")'),
        (ColumnTest("a__text", "startswith", ""), f'(a__text >= "" and a__text != "{NO_TEXT}")'),
        (ColumnTest("a__text", "contains", "b"), None),
        (ColumnTest("a__text", "==", "b" * LONGEST_TEXT), None),
        (ColumnTest("a__text", "==", "\ud800"), None),
        (ColumnTest("item", "in", ("\ud800", "b")), '(item in ["b"])'),
        (ColumnTest("item", "==", "\ud800"), '(key == "")'),
        (ColumnTest("a__number", "<", 2.5), f"(a__number < 2.5 and a__number != {NO_NUMBER!r})"),
        (ColumnTest("a__number", ">", -1e300), "(a__number > -1e+300)"),
        (ColumnTest("a__integer", ">=", 2**62 + 1), "(a__integer >= 4611686018427387905)"),
        (ColumnTest("a__integer", ">", -(2**63)), "(a__integer >= -9223372036854775807 and a__integer != 0)"),
        (ColumnTest("a__integer", "<=", -(2**63)), "(a__integer < -9223372036854775807)"),
        (ColumnTest("a__boolean", "==", value=True), "(a__boolean == 1)"),
        (ColumnTest("a__set", "has", "tx"), 'array_contains(a__set, "tx")'),
        (ColumnTest("a__set", "is null"), 'array_contains(a__set, "-")'),
        (ColumnTest("a__other", "is null"), "(a__other == 0)"),
        (ColumnTest("ordinal", "==", 0), "(ordinal == 0)"),
    ],
)
def test_a_test_is_of_what_is_there_and_not_of_what_stands_for_none(test, expression):
    assert MilvusDialect().test(test) == expression


@given(texts, texts)
def test_what_lies_from_a_text_to_the_next_one_begins_with_it(text, other):
    for value in (other, text + other):
        found = MilvusDialect().test(ColumnTest("item", "startswith", text))
        read = found.strip("()").replace("\\t", "\t").split(" and ")
        if not any(each in text for each in '"\\\n\r\t '):
            bounds = [part.split(" ", 2) for part in read]
            holds = [value >= bound[1:-1] if sign == ">=" else value < bound[1:-1] for _, sign, bound in bounds]
            assert all(holds) == value.startswith(text)


def test_a_column_that_the_table_lacks_is_ours_to_test():
    dialect = MilvusDialect()
    dialect.columns = frozenset({"a__text"})
    assert dialect.test(ColumnTest("a__text", "==", "x")) == '(a__text == "x")'
    assert dialect.test(ColumnTest("b__text", "==", "x")) is None
    assert dialect.test(ColumnTest("b__text", "is null")) is None


SCHEMA = Schema("s", 2, "float16", (Column("a__text", "text"), Column("n__number", "number"), Column("s__set", "set")))


def record(**values):
    given_ = {"key": "k", "hash": "h", "item": "one", "image": "1.png", "digest": "d", "ordinal": 0, "attributes": "{}"}
    given_ |= {"image_attributes": "{}", "a__text": None, "n__number": None, "s__set": None, **values}
    arrow = SCHEMA.arrow()
    arrays = [pa.array([given_[name]], arrow.field(name).type) for name in arrow.names[:-1]]
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.array([0.25, 1], np.float16)), 2)
    return pa.table([*arrays, vector], schema=arrow)


def there_and_back(records):
    found = rows.rows_of(records, SCHEMA.columns, 7, np.dtype(np.float32))
    return rows.table_of_rows(found, SCHEMA.arrow().names, SCHEMA)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"a__text": "", "n__number": 0.0, "s__set": []},
        {"a__text": "-", "n__number": -1.0, "s__set": ["t-", "n1"]},
        {"attributes": json.dumps({"text": "Ä" * 100_000}), "image": NO_TEXT},
    ],
)
def test_a_record_is_the_same_there_and_back(values):
    assert there_and_back(record(**values)).equals(record(**values))


@pytest.mark.parametrize("wrapped", [lambda cell: cell, lambda cell: [cell]], ids=["of_a_search", "of_a_query"])
def test_a_vector_of_float16_is_the_same_there_and_back(wrapped):
    (row,) = rows.rows_of(record(), SCHEMA.columns, 7, np.dtype(np.float16))
    assert row["vector"].dtype == np.float16
    read = row | {"vector": wrapped(row["vector"].tobytes())}
    assert rows.table_of_rows([read], SCHEMA.arrow().names, SCHEMA).equals(record())


def test_a_long_text_is_compared_by_its_beginning():
    (row,) = rows.rows_of(record(a__text="x" * 70_000), SCHEMA.columns, 7, np.dtype(np.float32))
    assert row["a__text"] == "x" * LONGEST_TEXT


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"a__text": NO_TEXT}, "stands for none"),
        ({"n__number": NO_NUMBER}, "stands for none"),
        ({"s__set": ["t"] * 4_097}, "4,097 elements, of 4,096"),
        ({"item": "one" * 30_000}, "its item takes 90,000 bytes, of 65,535"),
        ({"attributes": "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9000, 60_000)))}, "attributes"),
    ],
)
def test_what_milvus_cannot_hold_is_refused_in_a_sentence(values, reason):
    with pytest.raises(PublishRefused, match=f"cannot hold the item 'one.*{reason}"):
        there_and_back(record(**values))


def test_of_too_many_attributes_some_are_tested_here(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_MOST_FIELDS", 14)
    shop = Shop()
    for number in range(6):
        shop.put(f"item{number}", number, a=number, b=number, c=str(number), d=number % 2 == 0)
    index(shop, tmp_path / "store")
    publish(uri, tmp_path / "store")
    with open_engine(uri) as opened:
        columns = opened.index._dialect.columns
        assert columns == {"c__text", "id__text"}
        query = np.ones((1, 12), np.float32)
        for expression, left in (("a > 2 and c != '5'", {"item3", "item4"}), ("not d and b < 2", {"item1"})):
            (found,) = opened.index.search(SearchRequest(query, 9, Filter.parse(expression)))
            assert {match.id for match in found} == left
            assert set(opened.items.ids_where(Filter.parse(expression))) == left


def test_other_columns_bring_a_collection_with_the_old_records_and_all_their_values(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_MOST_FIELDS", 15)
    shop = Shop()
    for number in range(4):
        shop.put(f"item{number}", number, c=str(number), z=str(number), **({} if number else {"b": "gone"}))
    index(shop, tmp_path / "store")
    publish(uri, tmp_path / "store")
    with open_engine(uri) as opened:
        assert opened.index._dialect.columns == {"b__text", "c__text", "id__text"}
        assert list(opened.items.ids_where(Filter.parse("z == '2'"))) == ["item2"]
    shop.put("item0", 0, c="0", z="0")  # now there is room for z, also of the items that stay as they are
    index(shop, tmp_path / "store")
    report = publish(uri, tmp_path / "store")
    assert (report.inserted, report.replaced, report.unchanged) == (0, 1, 3)
    with closing(connect(uri)) as engine:
        assert [token.partition("@")[0][-4:] for token in engine.tokens()] == ["0001", "0002"]
    with open_engine(uri) as opened:
        assert opened.index._dialect.columns == {"c__text", "id__text", "z__text"}
        assert list(opened.items.ids_where(Filter.parse("z == '2'"))) == ["item2"]
        assert opened.table.count('(z__text == "2")') == 1


class Answers:
    """A connection that answers at most *most* rows at once, and may end an answer early, as old servers do."""

    def __init__(self, texts_, most):
        self.texts, self.most = texts_, most

    def call(self, _, __, *, filter, limit, **___):  # noqa: A002 - the name of the client
        after = filter.rpartition("row > ")[2].strip('()"') if "row > " in filter else ""
        return [{"row": text} for text in sorted(self.texts) if text > after][: min(limit, self.most)]


def test_pages_go_on_until_nothing_is_left():
    connection = Connection.__new__(Connection)
    connection.is_file = True
    connection.call = Answers([f"{number:03}" for number in range(25)], 4).call
    found = [row["row"] for page in connection.pages("c", "(born <= 1)", [], "row", 10) for row in page]
    assert found == [f"{number:03}" for number in range(25)]


def test_the_first_by_a_column_are_found_without_reading_all(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_READ_AT_ONCE", 20)
    monkeypatch.setattr(table, "_SAMPLED", 30)
    index(shop_of(300), tmp_path / "store")
    publish(uri, tmp_path / "store")
    with open_engine(uri) as opened:
        read = []
        pages = opened.table._connection.pages
        monkeypatch.setattr(
            opened.table._connection,
            "pages",
            lambda *args, **kw: (read.append(len(p)) or p for p in pages(*args, **kw)),
        )
        assert opened.items.ids(limit=5) == [f"item{number:03}" for number in range(5)]
        assert opened.items.ids(after="item150", limit=3) == ["item151", "item152", "item153"]
        assert sum(read) <= 60
        assert opened.items.ids(after="item290") == [f"item{number:03}" for number in range(291, 300)]


def test_more_than_an_answer_holds_is_compared_here(uri, tmp_path, monkeypatch):
    index(shop_of(30), tmp_path / "store")
    publish(uri, tmp_path / "store")
    with open_engine(uri) as opened:
        request = SearchRequest(np.ones((1, 12), np.float32), 25)
        expected = opened.index.search(request)
        monkeypatch.setattr(table, "page_size", lambda *_: 8)
        assert opened.index.search(request) == expected
        assert len(expected[0]) == 25


def test_a_document_is_the_old_or_the_new_one_at_every_moment(uri, monkeypatch):
    with closing(connect(uri)) as engine:
        assert (engine.documents.read(["a"]).get("a"), engine.documents.names()) == (None, [])
        old, new = b"x" * 200_000, bytes(range(256)) * 1_000
        engine.documents.write("a", old)
        engine.documents.write('it\'s "b"', b"")
        seen = []
        call = engine._connection.call

        def slowly(method, *args, **kwargs):
            if method == "insert":
                seen.append(engine.documents.read(["a"]).get("a"))
                call(method, args[0], args[1][:2])  # half of it: a run that was stopped
                seen.append(engine.documents.read(["a"]).get("a"))
                call(method, args[0], args[1][2:])
                return seen.append(engine.documents.read(["a"]).get("a"))
            return call(method, *args, **kwargs)

        monkeypatch.setattr(engine._connection, "call", slowly)
        engine.documents.write("a", new)
        assert [each == old for each in seen] == [True, True, False]
        assert engine.documents.read(["a"]).get("a") == new
        assert engine.documents.names() == ["a", 'it\'s "b"']
        engine.documents.delete(["a"])
        assert engine.documents.names() == ['it\'s "b"']
        assert engine.documents.read(['it\'s "b"']).get('it\'s "b"') == b""
        assert engine._connection.count(documents.COLLECTION, "serial > 0") == 1


def meeting(monkeypatch, owner, name, met, threads=2):
    """Let *threads* that call the function *name* of *owner* at once meet in it; *met* counts calls by an argument."""
    before, barrier = getattr(owner, name), threading.Barrier(threads)

    def slowly(*args, **kwargs):
        met[str(args[0])] += 1
        with suppress(threading.BrokenBarrierError):
            barrier.wait(1)
        barrier.reset()
        return before(*args, **kwargs)

    monkeypatch.setattr(owner, name, slowly)


def test_threads_that_ask_at_once_open_a_collection_once(store, uri, monkeypatch):
    """Milvus Lite would open it for each: what one has loaded is not loaded for the next question."""
    publish(uri, store)
    opens = Counter()
    meeting(monkeypatch, pytest.importorskip("milvus_lite.db"), "load_schema", opens)
    with closing(connect(uri)) as engine, ThreadPoolExecutor(2) as threads:
        token, _ = threads.map(lambda work: work(), [engine.tokens, engine.documents.names])
        counts = threads.map(lambda each: engine.open(each).count(None), token * 2)
        assert list(counts) == [10, 10]
    assert sorted(opens.values()) == [1, 1]


def test_threads_that_write_first_at_once_make_one_file_and_one_collection(uri, monkeypatch):
    served, made = Counter(), Counter()
    meeting(monkeypatch, Address, "serve", served)
    meeting(monkeypatch, pytest.importorskip("milvus_lite.db"), "save_schema", made)
    with closing(connect(uri)) as engine, ThreadPoolExecutor(2) as threads:
        list(threads.map(engine.documents.write, "ab", [b"1", b"2"]))
        assert engine.documents.read("ab") == {"a": b"1", "b": b"2"}
    assert (list(served.values()), list(made.values())) == ([1], [1])


def test_threads_that_write_at_once_write_one_after_the_other(uri, monkeypatch):
    """Milvus Lite would let both open its log, and the second empty what the first has written."""
    log, barrier, met = pytest.importorskip("milvus_lite.storage.wal").WAL, threading.Barrier(2), []
    before = log.write_insert

    def slowly(*args):
        with suppress(threading.BrokenBarrierError):
            met.append(barrier.wait(0.2))
        barrier.reset()
        return before(*args)

    with closing(connect(uri)) as engine, ThreadPoolExecutor(2) as threads:
        engine.documents.write("first", b"0")
        monkeypatch.setattr(log, "write_insert", slowly)
        list(threads.map(engine.documents.write, "ab", [b"1", b"2"]))
    assert not met
    with closing(connect(uri)) as again:
        assert again.documents.read(["a", "b", "first"]) == {"a": b"1", "b": b"2", "first": b"0"}


def test_a_collection_that_somebody_has_released_is_loaded_again(store, uri):
    publish(uri, store)
    query = np.ones(12, np.float32)
    with open_engine(uri) as opened, closing(connect(uri)) as somebody:
        read, documents_ = opened.table, opened.engine.documents
        for ask in (
            lambda: read.count(None),
            lambda: len(read.read(["item"])),
            lambda: sum(map(len, read.scan(["item"]))),
            lambda: len(read.nearest(query, 10, ["item"], None, effort=8)),
            documents_.names,
            lambda: documents_.write("a", b""),
            lambda: documents_.delete(["a"]),
            lambda: opened.engine.drop([]),
        ):
            before = ask()
            for name in (documents.COLLECTION, *opened.engine._collections()):
                somebody._connection.call("release_collection", name)
            assert ask() == before
        report = publish(uri, store, options=PublishOptions(rewrite=True))
        assert (report.replaced, read.count(None)) == (10, 10)


def test_what_died_in_generations_that_nobody_keeps_is_removed_an_hour_later(uri, tmp_path, monkeypatch):
    shop, now = shop_of(5), time.time()
    monkeypatch.setattr(state, "time", lambda: now)
    for price in range(6):
        shop.put("item003", 3, price=100 + price)
        index(shop, tmp_path / "store")
        now += 3000 * (price == 5)
        publish(uri, tmp_path / "store")
        if price == 4:
            now += 610
            assert held(uri) == (state.State(5, [4, 5], dict.fromkeys((1, 2, 3), now - 610)), 5 + 4)
    assert held(uri) == (state.State(6, [5, 6], {4: now}), 5 + 2)


def held(uri):
    """Return the state of the only collection, and how many rows it has."""
    with closing(connect(uri)) as engine:
        (name,) = engine._collections()
        return engine.state(name), engine._connection.count(name, "born > 0")


def answers(opened):
    """Return what a reader finds, read again."""
    items, query = EngineItems(opened.engine, opened.published, opened.table), np.ones((1, 12), np.float32)
    prices = {item: given_["price"] for item, given_ in items.attributes_of(items.ids()).items()}
    (found,) = opened.index.search(SearchRequest(query, 9, Filter.parse("price < 1000")))
    return prices, [(match.id, match.score) for match in found], opened.table.count(None)


def test_a_reader_that_stays_open_answers_as_before_or_fails_loudly(uri, tmp_path, monkeypatch):
    """Three hours of a reader, asked every 4 minutes, while generations that nobody keeps go."""
    shop, now, outcomes = shop_of(5), time.time(), []
    monkeypatch.setattr(state, "time", lambda: now)
    for number in range(5):
        shop.put(f"item00{number}", number, price=7)
    index(shop, tmp_path / "store")
    publish(uri, tmp_path / "store", options=PublishOptions(keep=1))
    with open_engine(uri) as opened:
        before = answers(opened)
        for minute in range(0, 184, 4):
            now += 240
            if minute in {40, 80, 120, 160}:
                shop.put("item003", 3, price=100 + minute)
                index(shop, tmp_path / "store")
                publish(uri, tmp_path / "store", options=PublishOptions(keep=1))
            try:
                outcomes.append(answers(opened) == before)
            except EngineDamaged as error:
                outcomes.append(str(error))
    lost = f"{uri} has no {opened.published.token} any more; open it again, or run `visrec publish {uri}` again"
    first = outcomes.index(lost)
    assert 40 < 4 * first < 100  # at the generation after, it answers still
    assert outcomes == [True] * first + [lost] * (len(outcomes) - first)


def test_a_reader_that_slept_while_its_records_went_fails_at_the_first_question(uri, tmp_path, monkeypatch):
    shop, now = shop_of(5), time.time()
    monkeypatch.setattr(state, "time", lambda: now)
    index(shop, tmp_path / "store")
    publish(uri, tmp_path / "store")
    with open_engine(uri) as opened:
        assert opened.table.count(None) == 5
        for item in ("item001", "item002", "item003"):
            del shop.items[item]
            index(shop, tmp_path / "store")
            now += 3601
            publish(uri, tmp_path / "store", options=PublishOptions(keep=1))
        query = np.ones(12, np.float32)
        table = opened.table
        for ask in (
            lambda: table.count(None),
            lambda: table.read(["item"]),
            lambda: list(table.scan(["item"])),
            lambda: table.nearest(query, 3, ["item"], None, effort=None),
            lambda: table.nearest(query, 1, ["item"], None, effort=8),
        ):
            with pytest.raises(EngineDamaged, match="any more"):
                ask()


@pytest.mark.parametrize("lost", ["records", "documents", "state"])
def test_what_somebody_has_dropped_is_published_anew_under_another_name(lost, uri, store):
    publish(uri, store)
    with closing(connect(uri)) as engine:
        (name,) = engine._collections()
        if lost == "state":
            engine.documents.write(f".{name}", b"{")
        else:
            engine._connection.call("drop_collection", name if lost == "records" else documents.COLLECTION)
    report = publish(uri, store)
    assert (report.inserted, report.unchanged) == (10, 0)
    with open_engine(uri) as opened:
        assert opened.items.ids() == [f"item{number:03}" for number in range(10)]
        assert opened.published.token == name.replace("0001", "0002@1")
        assert opened.engine._collections() == [name.replace("0001", "0002")]
        assert opened.engine.documents.stated() == opened.engine._collections()
    assert publish(uri, store).unchanged == 10


def test_a_file_that_another_program_has_open_is_told_so(store, uri, caplog):
    program = f"""
        from vision_recs.engines.base import connect
        engine = connect({uri!r})
        engine.documents.write("a", b"")
        print("open", flush=True)
        input()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(EngineUnavailable, match="another program has it open"):
            connect(uri)
        assert caplog.records == []  # the server logs it with a traceback
        other.communicate("\n")
    publish(uri, store)
    with open_engine(uri) as opened, closing(connect(uri)):  # one program may open it twice
        assert opened.items.item_count == 10
    subprocess.run([sys.executable, "-c", textwrap.dedent(program).replace("input()", "")], check=True)


def test_reading_makes_no_file(store, uri, tmp_path):
    report = publish(uri, store, options=PublishOptions(dry_run=True))
    assert (report.inserted, report.before, report.kept) == (10, None, [])
    sentence = f"^nothing is published in {uri}; run `visrec publish {uri}`$"
    with pytest.raises(NothingPublished, match=sentence):
        open_engine(uri)
    with pytest.raises(NothingPublished):
        rollback(uri)
    with closing(connect(uri)) as engine:
        assert (engine.documents.names(), engine.tokens()) == ([], [])
        with pytest.raises(EngineDamaged):
            engine.open("visrec_x_float16_0001@1")
        engine.drop([])
        engine.documents.delete(["a"])
        assert [path.name for path in tmp_path.iterdir()] == ["store"]
        publish(uri, store)  # what was connected before sees it
        assert engine.documents.names()[0] == "current"
    assert publish(uri, store, options=PublishOptions(dry_run=True)).unchanged == 10


def test_nothing_is_written_to_the_terminal(store, uri):
    program = f"""
        from vision_recs.engines import open_engine, publish, rollback
        publish({uri!r}, {str(store)!r})
        with open_engine({uri!r}) as opened:
            print(opened.items.ids(limit=1))
        try:
            rollback({uri!r})
        except Exception as error:
            print(type(error).__name__)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("['item000']\nNothingPublished\n", "")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("milvus://localhost", Address("milvus://localhost:19530", "http://localhost:19530")),
        (
            "milvus://me:se%40cret@[::1]:1/shop/",
            Address("milvus://[::1]:1/shop", "http://[::1]:1", "me:se@cret", "shop"),
        ),
        ("milvus+https://a.b:443/x", Address("milvus+https://a.b:443/x", "https://a.b:443", "", "x")),
    ],
)
def test_the_address_of_a_server(uri, address):
    assert Address.parse(uri) == address


@pytest.mark.parametrize(
    "uri",
    ["milvus:", "milvus:x", "milvus:nowhere/x.db", "milvus://", "milvus://u:secret@h:99999", "milvus://u:secret@h/a/b"],
)
def test_what_is_no_address_is_told_so_without_secrets(uri):
    with pytest.raises(UnknownEngine, match=r"milvus|port") as raised:
        connect(uri)
    assert "secret" not in str(raised.value)


def test_a_server_that_is_not_there_is_one_sentence_without_secrets(monkeypatch):
    pytest.importorskip("pymilvus")
    monkeypatch.setattr("vision_recs.engines.milvus.client._CONNECT_S", 0.5)
    with pytest.raises(EngineUnavailable, match=r"^milvus://127\.0\.0\.1:9/shop cannot be used \(") as raised:
        connect("milvus://me:secret@127.0.0.1:9/shop")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("library", ["pymilvus", "milvus_lite.server_manager"])
def test_a_missing_library_is_named_with_its_extra(library, uri, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'visrec\[milvus\]'"):
        connect(uri)


@pytest.mark.nightly
def test_a_way_back_whose_collection_somebody_has_dropped_is_a_sentence_and_readers_stay(store, uri):
    publish(uri, store)
    with closing(connect(uri)) as engine:
        (first,) = engine._collections()
    index(shop_of(10), store, FakeEncoder("another", turn=3))
    publish(uri, store)
    with closing(connect(uri)) as engine:
        engine._connection.call("drop_collection", first)
    with pytest.raises(NothingPublished, match="generation 1 is lost: somebody has removed its records or documents"):
        rollback(uri)
    with open_engine(uri) as opened:
        assert (opened.published.generation, opened.published.withdrawn, len(opened.items.ids())) == (2, False, 10)
