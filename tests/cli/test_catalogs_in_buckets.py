"""`visrec index s3://bucket/...` as a person runs it, with a real S3 server."""

import json

import pytest
from loaded_modules import loaded_modules


@pytest.fixture
def catalog(s3, sample_images):
    """The address of the table of two mugs, beside their images."""
    lines = (sample_images / "catalog.csv").read_text("utf-8").splitlines()
    rows = [line for line in lines[1:] if "mug-01" in line or "mug-02" in line]
    s3.put("shop/catalog.csv", "\n".join([lines[0], *rows]).encode())
    for path in sorted(sample_images.glob("mug-0[12]-*.jpg")):
        s3.put(f"shop/{path.name}", path.read_bytes())
    return f"{s3.address}/shop/catalog.csv"


def test_a_catalog_in_a_bucket_is_indexed_shown_and_indexed_again(visrec, s3, catalog, tmp_path):
    def run():
        done = visrec("index", catalog, "--store", tmp_path / "store", "--json", "--quiet")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = run()
    assert (first["items"], first["skipped"]) == (2, 0)
    assert first["embedded"] == first["images"] > 2
    s3.counted()
    assert run()["generation"] == 1
    assert {request.key for request in s3.requests if request.kind == "GET"} == {"shop/catalog.csv"}
    assert sum(request.kind in {"LIST", "HEAD"} for request in s3.requests) <= 5
    assert json.loads(visrec("info", "--store", tmp_path / "store", "--json").stdout)["catalog"] == catalog

    page = tmp_path / "page.html"
    done = visrec("similar", "mug-01", "--one-per", "item", "--html", page, "--store", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") >= 2


def test_a_mistake_is_one_sentence(visrec, s3, tmp_path):
    for address, why in (
        (f"{s3.address}/no.csv", "there is no such file or folder; check the address"),
        ("s3://no-such-bucket/x/", "there is no bucket s3://no-such-bucket; check the address"),
    ):
        done = visrec("index", address, "--store", tmp_path / "store", "--quiet")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"visrec: {address}: {why}\n"


def test_a_query_by_id_of_a_store_of_a_bucket_loads_no_obstore(visrec, catalog, tmp_path):
    visrec("embed", catalog, "--store", tmp_path / "store", "--quiet")
    imported = loaded_modules("similar", "mug-01", "--store", tmp_path / "store")
    assert "vision_recs.store" in imported
    assert not {name for name in imported if name.startswith(("obstore", "vision_recs.remote.object_store"))}
