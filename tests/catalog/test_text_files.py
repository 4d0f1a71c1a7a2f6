"""Dialects of text tables: separators, encodings, line ends, fields of any length, gzip."""

import gzip

import pytest

from vision_recs.catalog import open_catalog
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.text_files import text_lines
from vision_recs.errors import CatalogError


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    catalog = open_catalog(path)
    return [(item.id, item.images, dict(item.attributes)) for item in catalog], catalog.notes


PLAIN = "id,image,title,price\na,a.jpg,Caf\u00e9,14.90\nb,b.jpg,Mug,5.00\n"
ITEMS = [("a", ("a.jpg",), {"title": "Caf\u00e9", "price": 14.9}), ("b", ("b.jpg",), {"title": "Mug", "price": 5.0})]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
def test_the_separator_is_the_one_of_the_header(tmp_path, name, separator):
    assert read(tmp_path / name, PLAIN.replace(",", separator)) == (ITEMS, ())


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_line_that_names_the_separator_is_obeyed(tmp_path, line):
    content = f"{line}\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")
    assert read(tmp_path / "t.csv", content) == (ITEMS, ())


def test_a_separator_inside_of_quotes_does_not_count(tmp_path):
    content = '"id","image","a;b;c;d"\n1,a.jpg,x\n'
    assert read(tmp_path / "t.csv", content)[0] == [("1", ("a.jpg",), {"a;b;c;d": "x"})]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path, end):
    assert read(tmp_path / "t.csv", PLAIN.replace("\n", end)) == (ITEMS, ())


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "the text is UTF-16, and was read as that"),
        ("utf-16-le", "the text is UTF-16, and was read as that"),
        ("utf-16-be", "the text is UTF-16, and was read as that"),
        ("cp1252", "the text is not UTF-8 and was read as Windows-1252, first in 'a,a.jpg,Caf\u00e9,14.90'"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_an_encoding_is_recognized_and_said(tmp_path, name, encoding, note):
    data = PLAIN.encode(encoding)
    items, notes = read(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data)
    assert items == ITEMS
    assert [found.partition("; save")[0] for found in notes] == ([] if note is None else [note])


def test_the_characters_that_only_windows_1252_has_are_right(tmp_path):
    items, _ = read(tmp_path / "t.csv", "id,image,t\na,a.jpg,5 \u20ac \u2013 \u201cok\u201d\n".encode("cp1252"))
    assert items[0][2] == {"t": "5 \u20ac \u2013 \u201cok\u201d"}


def test_a_damaged_byte_in_utf8_is_shown_and_the_other_lines_are_not_taken_for_windows_1252(tmp_path):
    content = "id,image,t\na,a.jpg,\u00e9\nb,b.jpg,".encode() + b"\xff\n" + "c,c.jpg,\u00fc\n".encode()
    items, (note,) = read(tmp_path / "t.csv", content)
    assert [attributes["t"] for _, _, attributes in items] == ["\u00e9", "\ufffd", "\u00fc"]
    assert note.startswith("some bytes are not UTF-8 and are shown as \ufffd, first in 'b,b.jpg,\ufffd'")


def test_a_field_may_have_any_length(tmp_path):
    long = "x" * 1_000_000
    items, _ = read(tmp_path / "t.csv", f"id,image,t\na,a.jpg,{long}\n")
    assert items[0][2] == {"t": long}


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_are_whole_wherever_a_block_of_the_file_ends(tmp_path, monkeypatch, end):
    monkeypatch.setattr("vision_recs.catalog.text_files._BLOCK", 3)
    lines = ["", "\u00e9", "a\u2028b", "xyz" * 3, "\u4e2d\u6587", ""]
    path = tmp_path / "t"
    for encoding in ("utf-8", "utf-16"):
        path.write_bytes(end.join(lines).encode(encoding))
        found = list(text_lines(str(path), Findings(str(path))))
        assert "".join(found) == end.join(lines)
        assert [line.rstrip(end) for line in found] == lines[: len(found)]
    path.write_bytes(end.join(lines[:4]).encode("cp1252", "replace"))
    assert "".join(text_lines(str(path), Findings(str(path)))) == end.join(["", "\u00e9", "a?b", "xyzxyzxyz"])


def test_comma_decimals_are_numbers_where_semicolons_separate(tmp_path):
    items, _ = read(tmp_path / "t.csv", "id;image;width;code\na;a.jpg;12,5;1,2,3\nb;b.jpg;7;4\n")
    assert [attributes for _, _, attributes in items] == [{"width": 12.5, "code": "1,2,3"}, {"width": 7.0, "code": "4"}]


def test_a_cut_gzip_file_is_refused(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(PLAIN.encode() * 100)[:-9])
    with pytest.raises(CatalogError, match="the file cannot be read"):
        list(open_catalog(tmp_path / "t.csv.gz"))
