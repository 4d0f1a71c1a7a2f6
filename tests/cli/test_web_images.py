"""An export whose images are on the web, from `visrec index` to a page, as a shop would do it."""

import json

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
