"""`visrec publish`, and the other commands that answer from an engine in place of a store."""

import json
import shlex
from functools import partial

import pytest
import typer
from engine_uris import KINDS, empty_engines
from fake_shop import index, shop_of
from manual import ROOT, blocks, commands, prepare
from visrec_cli.main import program

import vision_recs
from vision_recs import evaluate
from vision_recs.engines import open_engine, publish
from vision_recs.errors import NothingPublished, StoreNotFound, VisionRecsError

pytest.importorskip("lancedb")

ASKED = [
    ("mug-01", "-k", "5"),
    ("mug-01", "lamp-03:2", "--one-per", "item", "--explain"),
    ("mug-01", "--where", 'price < 40 and color != "white" and not id.startswith("bowl")'),
    ("mug-01", "--rules", "sample_images/rules.toml"),
    ("vase-02", "--negative", "mug-01", "--diversity", "0.3", "--min-score", "0.2"),
    ("--history", "sample_images/history.jsonl", "-k", "6"),
    ("--image", "sample_images/lamp-03-2.jpg", "-k", "3"),
]


SHOWN = ["README.md", "docs/index.md", "docs/guides/filters-and-rules.md", "docs/guides/engines.md"]
"""The pages whose examples answer from the sample store."""


def examples():
    """Return the examples of SHOWN that answer: commands as lists, and Python as text."""
    found = []
    for block in (block for page in SHOWN for block in blocks((ROOT / page).read_text("utf-8")) if not block.reason):
        if block.kind == "console":
            found += [
                shlex.split(command)[1:] for command, _ in commands(block) if command.startswith("visrec similar")
            ]
        elif block.kind == "python" and "vision_recs.open(" in block.text:
            found.append("".join(line for line in block.text.splitlines(keepends=True) if "report" not in line))
    return found


@pytest.fixture
def run(capsys, monkeypatch, sample_images):
    """Run a command in this process, which has loaded the libraries of engines already, and return what it prints."""
    monkeypatch.chdir(sample_images.parent)

    def run(*arguments):
        arguments = [str(argument) for argument in arguments]
        program(arguments)(arguments, standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def engine(visrec, sample_store, tmp_path_factory):
    """The URI of an engine to which the sample store is published."""
    uri = f"lance:{tmp_path_factory.mktemp('engine')}"
    done = visrec("publish", uri, "--store", sample_store)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"published generation 1 to {uri} in ")
    assert first.endswith(": inserted 240, replaced 0, deleted 0, unchanged 0 images")
    assert second == "recall@10 1.000, with filters 1.000 at least; kept generations: 1"
    return uri


@pytest.mark.parametrize("arguments", ASKED, ids=" ".join)
def test_similar_prints_what_it_prints_for_the_store(run, engine, sample_store, arguments):
    expected = run("similar", *arguments, "--json", "--store", sample_store)
    assert len(expected.splitlines()) > 2
    assert run("similar", *arguments, "--json", "--engine", engine) == expected


@pytest.fixture(params=KINDS, scope="module")
def each_engine(request, sample_store, tmp_path_factory):
    """The URI of an engine of each kind to which the sample store is published."""
    with empty_engines(request.param, tmp_path_factory.mktemp(request.param)) as new:
        uri = new()
        publish(uri, sample_store)
        yield uri


def test_every_example_of_the_manual_answers_from_an_engine_as_from_the_store(
    each_engine, sample_store, monkeypatch, capsys, tmp_path
):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    asked = examples()
    for wanted in ("--rules", "--history", "--negative", "--explain", "--image", "--diversity"):
        assert any(wanted in example for example in asked)
    opened = vision_recs.open

    def answer(example, option, place, place_of):
        if isinstance(example, str):
            monkeypatch.setattr(vision_recs, "open", lambda _=None, **__: opened(**place_of))
            exec(compile(example, "example", "exec"), {})
        else:
            arguments = [each for each in example if each not in {"--engine", "lance:engine", "--html", "similar.html"}]
            program(arguments)([*arguments, option, str(place)], standalone_mode=False)
        return capsys.readouterr().out

    for example in asked:
        expected = answer(example, "--store", sample_store, {"store": sample_store})
        assert expected
        assert answer(example, "--engine", each_engine, {"engine": each_engine}) == expected, example


def test_the_variable_names_the_engine_where_there_is_no_store(visrec, run, engine, sample_store, tmp_path):
    done = visrec("similar", "mug-01", "--json", cwd=tmp_path, VISREC_ENGINE=engine)
    assert done.stdout == run("similar", "mug-01", "--json", "--store", sample_store)
    assert done.stderr == ""


def test_neighbors_writes_the_file_of_the_store(run, engine, sample_store, tmp_path):
    one, other = tmp_path / "store.csv", tmp_path / "engine.csv"
    options = ("-k", "4", "--where", "in_stock", "--query-filter", 'category == "mug"')
    run("neighbors", one, *options, "--store", sample_store)
    told = run("neighbors", other, *options, "--engine", engine)
    assert "searched in the engine, recall@10 1.000" in told
    assert other.read_text() == one.read_text()
    assert len(one.read_text().splitlines()) == 1 + 5 * 4
    with pytest.raises(NothingPublished, match="cannot be compared with those of generation 1: that takes a store"):
        run("neighbors", other, "--changed-since", "1", "--engine", engine)


def test_evaluate_measures_both_in_one_run(run, engine, sample_store, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "measure_engine_quality", partial(evaluate.measure_engine_quality, queries=20))
    both = json.loads(run("evaluate", "--engine", engine, "--store", sample_store, "--json"))
    assert [one["searched"] for one in both["searches"]] == ["flat", engine]
    for one in both["searches"]:
        assert one["recall_at_10"] == 1.0
        assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
        assert one["bytes"] > 240 * 1280 * 2  # float16, 1,280 numbers
        assert len(one["filtered"]) == 6
        assert {(each["recall_at_10"], each["short"]) for each in one["filtered"]} == {(1.0, 0)}
        assert all(0 < each["images"] < 240 for each in one["filtered"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")  # the way to the engine may be long
    alone = run("evaluate", "--engine", engine)
    assert alone.splitlines()[1].split()[:2] == [engine, "1.0000"]


@pytest.fixture(scope="module")
def own_engine(tmp_path_factory):
    """The URI of an engine that has two generations."""
    folder = tmp_path_factory.mktemp("two")
    for generation in range(2):
        index(shop_of(5 + generation), folder / "store")
        publish(f"lance:{folder / 'engine'}", folder / "store")
    return f"lance:{folder / 'engine'}"


def test_publish_again_with_json_a_dry_run_and_a_rollback(run, own_sample_store, tmp_path):
    uri = f"lance:{tmp_path / 'engine'}"
    of_store = ("--store", own_sample_store, "-q")
    assert run("publish", uri, *of_store, "--dry-run") == (
        f"generation 1 would be published to {uri}: inserted 240, replaced 0, deleted 0, unchanged 0 images\n"
    )
    assert not (tmp_path / "engine").exists()
    run("publish", uri, *of_store)
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "mug-01", "price": 3.5}\n')
    run("update", changes, *of_store)
    report = json.loads(run("publish", uri, *of_store, "--json"))
    assert {name: report[name] for name in ("generation", "before", "inserted", "replaced", "deleted", "kept")} == {
        "generation": 2,
        "before": 1,
        "inserted": 0,
        "replaced": 4,
        "deleted": 0,
        "kept": [1, 2],
    }
    asked = ("similar", "mug-02", "--one-per", "item", "--engine", uri, "--json")
    assert '"price": 3.5' in run(*asked)
    back = f"readers of {uri} open generation 1 again, not 2; `visrec publish` undoes that\n"
    assert run("publish", uri, "--rollback") == back
    assert '"price": 3.5' not in run(*asked)
    assert json.loads(run("publish", uri, *of_store, "--json"))["before"] == 1
    assert json.loads(run("publish", uri, "--rollback", "--json")) == {"uri": uri, "before": 2, "generation": 1}


@pytest.mark.parametrize("option", [("--dry-run",), ("--rewrite",), ("--keep", "2")])
def test_a_rollback_with_an_option_of_publishing_is_refused(run, own_engine, option):
    with pytest.raises(typer.BadParameter, match=f"cannot be combined with {option[0]}"):
        run("publish", own_engine, "--rollback", *option)
    with open_engine(own_engine) as opened:
        assert opened.published.generation == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("similar", "mug-01", "--engine", "pinecone:x"), "'pinecone:x' is not the URI of an engine; use one of"),
        (("similar", "mug-01", "--engine", "lance:nowhere"), "nothing is published in lance:nowhere"),
        (("publish", "lance:nowhere", "--rollback"), "lance:nowhere keeps no generation before"),
        (("publish", "lance:nowhere", "--store", "none"), "there is no store in none"),
        (("evaluate", "--engine", "lance:nowhere"), "nothing is published in lance:nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VisionRecsError) as raised:
        run(*arguments)
    assert str(raised.value).startswith(sentence)
    assert list(tmp_path.iterdir()) == []
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (("--labels", "category", "--encoder", "clip-b32"), "--encoder"),
        (("--per-image", "--html", "page.html"), "--html"),
        (("--index-type", "hnsw"), "--index-type"),
    ],
)
def test_evaluate_refuses_what_an_engine_cannot_measure(run, own_engine, given, option):
    with pytest.raises(typer.BadParameter) as raised:
        run("evaluate", "--engine", own_engine, *given)
    assert raised.value.param_hint == option


def test_evaluate_measures_relevance_in_an_engine_also_against_a_store(run, engine, sample_store, sample_images):
    for task in (("--labels", "category"), ("--pairs", sample_images / "pairs.csv"), ("--per-image",)):
        found, expected = (
            json.loads(run("evaluate", *task, "--json", "-q", *where))
            for where in (("--engine", engine), ("--store", sample_store))
        )
        assert (found.pop("provenance")["store"], len(found)) == (engine, len(expected) - 1)
        assert {name: expected[name] for name in found} == found
    both = run("evaluate", "--labels", "category", "-q", "--engine", engine, "--baseline", sample_store)
    assert f"candidate: efficientnet-lite0 [044717f263c7ad95] in {engine}" in both
    assert "+0.000" in both


def test_evaluate_refuses_a_store_that_is_named_and_not_there(run, own_engine, tmp_path):
    with pytest.raises(StoreNotFound, match="there is no store in"):
        run("evaluate", "--engine", own_engine, "--store", tmp_path / "none")


def test_a_query_of_a_store_imports_nothing_of_engines(visrec, sample_store):
    done = visrec("similar", "mug-01", "--store", sample_store, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not [name for name in imported if name.startswith(("vision_recs.engines", "lancedb", "pymilvus", "pyarrow"))]
