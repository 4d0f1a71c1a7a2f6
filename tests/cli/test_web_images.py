"""An export whose images are on the web, from `visrec index` to a page, as a shop would do it."""

import json

import pytest
from fake_shop import FakeEncoder
from shop_exports import EXPORTS
from typer.testing import CliRunner
from visrec_cli.main import program
from web_site import publish, status

OPTIONS = ("--allow-private-addresses", "--quiet", "--json")


def test_an_export_alone_is_indexed_asked_shown_and_kept_through_an_outage(visrec, site, tmp_path):
    export, _ = publish("shopify", tmp_path, site)
    store = tmp_path / "store"
    refused = visrec("index", export, "--store", store)
    assert refused.returncode == 1
    assert "'127.0.0.1' is not a public address; to read from it, say --allow-private-addresses" in refused.stderr
    assert (site.requests, site.robots_requests) == ([], 0)

    site.robots = "User-agent: *\nDisallow: /admin\n"

    done = json.loads(visrec("index", export, "--store", store, *OPTIONS, "--pace", "1000").stdout)
    assert (done["items"], done["images"], done["skipped_reasons"]) == (22, 23, {"no-image": 1})
    found = visrec("similar", "mug-01-red", "--store", store, "--where", "in_stock and price < 10", "--json")
    assert len(found.stdout.splitlines()) > 1
    page = tmp_path / "page.html"
    site.requests.clear()
    assert visrec("similar", "mug-01-red", "-k", "3", "--store", store, "--html", page).returncode == 0
    assert page.read_text("utf-8").count("data:image/jpeg") == 4 == len(site.bodies())

    site.requests.clear()
    again = json.loads(visrec("index", export, "--store", store, *OPTIONS, "--pace", "1000").stdout)
    assert (again["generation"], again["embedded"], set(site.statuses())) == (done["generation"], 0, {304})

    site.answers = dict.fromkeys(list(site.files)[:5], status(403))
    outage = visrec("index", export, "--store", store, "--allow-private-addresses", "--pace", "1000")
    assert outage.returncode == 0
    assert "5 http-403: could not be read, and keep the vectors of an earlier run; see " in outage.stderr
    described = json.loads(visrec("info", "--store", store, "--json").stdout)
    assert (described["items"], described["stale_images"]) == (22, {"http-403": 5})
    strict = visrec("index", export, "--store", store, *OPTIONS, "--keep-stale", "1", "--strict")
    assert strict.returncode == 1
    assert "skipped 6 (5 http-403, 1 no-image) beside 18 images" in strict.stderr


@pytest.mark.parametrize("kind", EXPORTS)
def test_every_export_is_indexed_by_the_command_and_a_second_run_reads_no_body(site, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    export, folder = publish(kind, tmp_path, site)
    arguments = ["index", str(export), "--store", str(tmp_path / "store"), *OPTIONS, "--own-images", "--pace", "1000"]
    arguments += ["--images", folder] if folder else []
    first, again = (json.loads(CliRunner().invoke(program(arguments), arguments).stdout) for _ in range(2))
    assert (first["skipped_reasons"], first["embedded"]) == ({"no-image": 1}, len(site.files))
    assert (again["generation"], again["embedded"], again["images"]) == (first["generation"], 0, first["images"])
    assert sorted(set(site.bodies())) == sorted(site.files)
    assert site.statuses().count(304) == len({request.path for request in site.requests})
