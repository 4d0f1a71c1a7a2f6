import pyarrow.parquet as pq
import pytest
from fake_shop import content, index, shop_of

from vision_recs.errors import StoreError
from vision_recs.jobs import export


@pytest.fixture
def store(tmp_path):
    shop = shop_of(7)
    shop.put("more", 3, 20, 21)
    index(shop, tmp_path / "index")
    return tmp_path / "index"


def exported(folder):
    rows = [row for path in sorted(folder.iterdir()) for row in pq.read_table(path).to_pylist()]
    return [(row["item_id"], row["image"], tuple(row["vector"])) for row in rows]


def held(store):
    items = content(store).items
    return [(item, name, vector) for item in sorted(items) for name, _, vector, _ in items[item][1]]


@pytest.mark.parametrize("rows_per_file", [1, 4, 10, 65_536])
def test_an_export_holds_every_row_in_order_however_many_files_it_takes(store, tmp_path, monkeypatch, rows_per_file):
    monkeypatch.setattr("vision_recs.jobs.exporting._ROWS_PER_FILE", rows_per_file)
    assert export(store, tmp_path / "export") == 10
    assert exported(tmp_path / "export") == held(store)
    files = sorted(path.name for path in (tmp_path / "export").iterdir())
    assert files == [f"part-{number:05d}.parquet" for number in range(-(-10 // rows_per_file))]


def test_an_earlier_export_is_replaced_also_one_that_was_killed(store, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("part-00000.parquet", "part-00007.parquet", "part-00008.making"):
        (folder / name).write_text("of old")
    export(store, folder)
    assert exported(folder) == held(store)


def test_a_folder_that_holds_anything_else_is_refused_and_left_alone(store, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("notes.txt", "part-00000.parquet"):
        (folder / name).write_text("mine")
    with pytest.raises(StoreError, match=r"holds 'notes\.txt', which is not part of an export; name another"):
        export(store, folder)
    assert [path.read_text() for path in folder.iterdir()] == ["mine", "mine"]


def test_a_folder_that_cannot_be_written_is_one_sentence(store, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"export cannot be written \(Not a directory\)"):
        export(store, tmp_path / "file" / "export")
