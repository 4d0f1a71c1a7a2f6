"""`--images-below` for a catalog that others write: images outside of the folder are skipped."""

import json
import shutil

import pytest


@pytest.fixture
def shop(tmp_path, sample_images):
    """A catalog of three images: in its folder, beside it, and behind a link."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "private").mkdir()
    for number, folder in enumerate(("shop", "private", "private"), 1):
        shutil.copy(sample_images / f"mug-0{number}-1.jpg", tmp_path / folder / f"{number}.jpg")
    (tmp_path / "shop" / "link.jpg").symlink_to(tmp_path / "private" / "3.jpg")
    (tmp_path / "shop" / "catalog.csv").write_text("id,image\n1,1.jpg\n2,../private/2.jpg\n3,link.jpg\n")
    return tmp_path


def test_images_outside_of_the_folder_are_skipped_until_they_are_allowed(visrec, shop):
    def run(command, *options):
        done = visrec(command, "shop/catalog.csv", "--store", "store", "--quiet", "--json", *options, cwd=shop)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        return report["items"], report["embedded"], report["skipped_reasons"]

    assert run("index", "--images-below", "shop") == (1, 1, {"outside": 2})
    lines = map(json.loads, (shop / "store" / "skipped" / "000001.jsonl").read_text("utf-8").splitlines())
    below = (shop / "shop").resolve()
    assert [(line["item_id"], line["message"]) for line in lines] == [
        (item, f"{image!r} is not below {below}; put the image there, or name another --images-below")
        for item, image in (("2", "../private/2.jpg"), ("3", "link.jpg"))
    ]
    assert run("embed") == (3, 2, {})
    assert run("index", "--images-below", ".") == (3, 0, {})
    assert run("index", "--images-below", "shop") == (1, 0, {"outside": 2})  # what it had is not kept either


def test_changes_name_no_image_outside_of_the_folder_either(visrec, shop):
    done = visrec("index", "shop/catalog.csv", "--images-below", "shop", "--store", "store", "--quiet", cwd=shop)
    assert done.returncode == 0, done.stderr
    changes = '{"id": "4", "image": "../private/2.jpg"}\n{"id": "5", "image": "1.jpg"}\n'
    (shop / "changes.jsonl").write_text(changes)

    def update(*options):
        done = visrec("update", "changes.jsonl", "--store", "store", "--quiet", "--json", *options, cwd=shop)
        return json.loads(done.stdout)

    assert (update("--images-below", "shop")["items"], update()["items"]) == (2, 3)


def test_links_of_a_folder_are_kept_inside_too(visrec, shop):
    done = visrec("index", "shop", "--images-below", "shop", "--store", "store", "--quiet", "--json", cwd=shop)
    assert json.loads(done.stdout)["skipped_reasons"] == {"outside": 1}
