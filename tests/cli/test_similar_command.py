from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from loaded_modules import loaded_modules
from PIL import Image
from visrec_cli.output import describe, explanation_lines

from vision_recs.types import Explanation, Match, TermScore

MATCH_KEYS = ["query", "rank", "id", "score", "image", "attributes"]


def lines(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def test_the_items_most_like_a_mug_are_mugs(visrec, sample_store):
    done = visrec("similar", "mug-01", "-k", "4", "--one-per", "item", "--store", sample_store, "--json")
    assert done.returncode == 0, done.stderr
    found = lines(done.stdout)
    assert {match["id"] for match in found} == {"mug-02", "mug-03", "mug-04", "mug-05"}
    assert [match["rank"] for match in found] == [1, 2, 3, 4]
    assert [list(match) for match in found] == [MATCH_KEYS] * 4
    assert [match["score"] for match in found] == sorted((match["score"] for match in found), reverse=True)
    assert found[0]["query"] == "mug-01"
    assert found[0]["attributes"]["category"] == "mug"
    assert found[0]["attributes"]["price"] == pytest.approx(14.9)
    assert found[0]["attributes"]["in_stock"] is True


def test_people_get_a_table(visrec, sample_store):
    done = visrec("similar", "mug-01", "-k", "3", "--store", sample_store)
    query, header, *rows = done.stdout.splitlines()
    assert query.startswith("mug-01  Striped mug, white and navy")
    assert header.split() == ["id", "score"]
    assert re.match(r"1  mug-04     0\.\d{3}  Speckled stoneware mug, terracotta", rows[0])
    assert len(rows) == 3
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_items_of_a_query_are_not_in_its_answer(visrec, sample_store):
    done = visrec("similar", "mug-01", "vase-02", "--one-per", "item", "--store", sample_store, "--json")
    found = lines(done.stdout)
    assert len(found) == 10
    assert {"mug-01", "vase-02"}.isdisjoint(match["id"] for match in found)
    assert {match["id"].split("-")[0] for match in found[:4]} == {"mug", "vase"}


def test_an_image_that_is_in_the_index_finds_its_own_item(visrec, sample_store, sample_images):
    image = sample_images / "lamp-03-2.jpg"
    done = visrec("similar", "--image", image, "-k", "1", "--store", sample_store, "--json")
    assert done.returncode == 0, done.stderr
    (match,) = lines(done.stdout)
    assert (match["id"], match["image"]) == ("lamp-03", "lamp-03-2.jpg")
    assert match["score"] > 0.999
    assert match["query"] == str(image)


def test_a_part_of_an_image_is_a_query(visrec, sample_store, sample_images, tmp_path):
    both = Image.new("RGB", (768, 384), (240, 240, 240))
    for at, name in enumerate(("lamp-03-2.jpg", "mug-01-1.jpg")):
        both.paste(Image.open(sample_images / name).resize((384, 384)), (384 * at, 0))
    both.save(tmp_path / "both.jpg", quality=92)
    done = visrec(
        *("similar", "--image", tmp_path / "both.jpg", "--crop", "0.5,0,0.5,1", "-k", "1", "--store", sample_store)
    )
    assert done.returncode == 0, done.stderr
    assert "both.jpg  (crop 0.5,0,0.5,1)" in done.stdout
    assert "1  mug-01 " in done.stdout


@pytest.mark.parametrize(
    ("crops", "sentence"),
    [
        (["0.5,0,0.5"], "'0.5,0,0.5' is not a crop; write x,y,width,height"),
        (["0,0,0,1"], "holds nothing of the image"),
        (["0,0,1,1"], "there are 1 --crop for 2 --image; give one for each image"),
    ],
)
def test_a_wrong_part_is_a_sentence(visrec, sample_store, sample_images, crops, sentence):
    image = sample_images / "lamp-03-2.jpg"
    images = ["--image", image] * (2 if "2 --image" in sentence else 1)
    named = [argument for crop in crops for argument in ("--crop", crop)]
    done = visrec("similar", *images, *named, "--store", sample_store)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_a_query_by_id_imports_neither_torch_nor_openvino_nor_pillow(sample_store):
    imported = loaded_modules("similar", "mug-01", "--store", sample_store)
    assert "faiss" in imported
    assert {"torch", "openvino", "PIL", "pyarrow", "open_clip", "timm", "obstore"}.isdisjoint(imported)
    assert {"tomllib", "vision_recs.filters", "vision_recs.recommend.rules", "jinja2"}.isdisjoint(imported)
    assert {"vision_recs.recommend.history", "vision_recs.recommend.query_encoder"}.isdisjoint(imported)


def test_help_and_import_load_nothing_heavy(visrec):
    done = visrec("--help", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert {"numpy", "faiss", "torch", "PIL", "rich", "obstore"}.isdisjoint(imported)


def test_an_unknown_id_names_the_nearest(visrec, sample_store):
    done = visrec("similar", "mug-1", "--store", sample_store)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(
        r"visrec: no item has the id 'mug-1'; the nearest are mug-\d\d, mug-\d\d, mug-\d\d\n", done.stderr
    )


def test_an_empty_query_is_a_usage_error(visrec, sample_store):
    done = visrec("similar", "--store", sample_store)
    assert done.returncode == 2
    assert "name an item id, or an image with --image" in done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "there is no file"), (b"", "has no bytes"), (b"hello", "none of JPEG, PNG")]
)
def test_an_image_that_cannot_be_used_is_one_sentence(visrec, sample_store, tmp_path, content, sentence):
    image = tmp_path / "image.jpg"
    if content is not None:
        image.write_bytes(content)
    done = visrec("similar", "--image", image, "--store", sample_store)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_store_is_one_sentence(visrec, tmp_path):
    done = visrec("similar", "mug-01", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "visrec: there is no store in .visrec; make one with `visrec index CATALOG`\n",
    )


def test_the_store_can_be_named_by_a_variable(visrec, sample_store):
    done = visrec("similar", "mug-01", "-k", "1", VISREC_STORE=str(sample_store))
    assert "mug-04" in done.stdout


def test_the_page_holds_its_images_and_needs_nothing_else(visrec, sample_store, tmp_path):
    page = tmp_path / "page.html"
    done = visrec("similar", "mug-01", "-k", "3", "--store", sample_store, "--html", page)
    assert done.stderr == f"wrote {page}\n"
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 4 + 3  # the images of the mug, and one of each match
    assert "http" not in text.replace("data:", "")
    assert 'src="data:' in text
    assert "Speckled stoneware mug, terracotta" in text
    nearest = visrec("similar", "mug-01", "-k", "1", "--store", sample_store, "--json").stdout
    assert f"{json.loads(nearest)['score']:.3f}" in text


def test_the_page_escapes_what_a_catalog_says(visrec, own_sample_store, tmp_path, sample_images):
    evil = '<script>alert(1)</script> & "quotes"'
    rename(tmp_path, sample_images, evil)
    page = tmp_path / "page.html"
    catalog = tmp_path / "catalog.csv"
    assert visrec("index", catalog, "--store", own_sample_store).returncode == 0
    visrec("similar", "mug-01", "--store", own_sample_store, "--html", page)
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in text


def test_the_page_says_where_an_image_is_gone(visrec, own_sample_store, tmp_path, sample_images):
    rename(tmp_path, sample_images, "title")
    assert visrec("index", tmp_path / "catalog.csv", "--store", own_sample_store).returncode == 0
    (tmp_path / "mug-04-1.jpg").unlink()
    visrec("similar", "mug-01", "-k", "1", "--store", own_sample_store, "--html", tmp_path / "page.html")
    assert "image not found" in (tmp_path / "page.html").read_text("utf-8")


def rename(folder: Path, sample_images: Path, title: str) -> None:
    """Put a copy of the sample catalog in *folder*, in which every item has *title*."""
    import csv

    with (sample_images / "catalog.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["title"] = title
        (folder / row["image"]).symlink_to(sample_images / row["image"])
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_sets_are_read_as_their_elements_and_colors_are_said_once():
    attributes = {
        "tags": '["new", "sale"]',
        "own_colors": '["navy"]',
        "image_colors": '["navy", "cream"]',
        "title": "[sic",
    }
    assert describe(attributes) == "[sic  new, sale  navy, cream"
    assert describe({"own_colors": '["navy"]'}) == "navy"


def test_an_item_without_an_image_is_explained_by_its_text():
    terms = (TermScore("item", "mug", 1.0, 0.5, "mug.jpg"), TermScore("item", "bare", 1.0, 0.25, ""))
    match = Match("cup", 0.4, "", "", {}, Explanation(terms))
    assert explanation_lines(match) == [
        "0.500  its text is nearest to mug.jpg of mug",
        "0.250  its text is nearest to the text of bare",
    ]
