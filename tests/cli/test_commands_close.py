"""Each command closes what it opens of a store, also where it fails; run in the process of the test, to see that."""

import json

import pytest
from typer.testing import CliRunner
from visrec_cli.main import program

from vision_recs.errors import VisionRecsError

COMMANDS = {
    "similar": ["similar", "mug-01", "--where", "in_stock", "--html", "page.html"],
    "an unknown item": ["similar", "mug-99"],
    "no number": ["similar", "mug-01", "--negative", "mug-02:-1"],
    "neighbors": ["neighbors", "--out", "neighbors.csv"],
    "duplicates": ["duplicates", "--quiet", "--html", "page.html"],
    "index quality": ["evaluate"],
    "relevance": ["evaluate", "--labels", "category", "--quiet", "--html", "page.html"],
    "two stores": ["evaluate", "--labels", "category", "--quiet", "--baseline", "index"],
    "a label that no item has": ["evaluate", "--labels", "shape", "--quiet", "--baseline", "index"],
    "tune": ["tune", "--labels", "category", "--dry-run"],
    "undo": ["tune", "--undo"],
    "info": ["info"],
    "verify": ["verify"],
    "gc": ["gc"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_command_closes_what_it_opens(arguments, own_sample_store, open_connections, monkeypatch):
    monkeypatch.chdir(own_sample_store.parent)
    done = CliRunner().invoke(program(arguments), [*arguments, "--store", "index"])
    assert done.exception is None or isinstance(done.exception, VisionRecsError | SystemExit), done.output
    assert open_connections == []


def test_index_and_embed_close_theirs(own_sample_store, sample_images, open_connections):
    for command in ("index", "embed"):
        arguments = [command, str(sample_images / "catalog.csv"), "--store", str(own_sample_store), "--json", "--quiet"]
        done = CliRunner().invoke(program(arguments), arguments)
        assert json.loads(done.stdout)["embedded"] == 0
        assert open_connections == []
