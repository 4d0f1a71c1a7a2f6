"""Tables of relevance judgments."""

import pytest

from vision_recs.catalog.judgments import Pair, read_pairs
from vision_recs.errors import CatalogError


def pairs_of(tmp_path, text, name="pairs.csv"):
    (tmp_path / name).write_text(text, "utf-8")
    return read_pairs(tmp_path / name)


def test_the_sample_pairs_are_read(sample_images):
    pairs = read_pairs(sample_images / "pairs.csv")
    assert pairs[:2] == [Pair("mug-01", "mug-02", 3.0), Pair("mug-01", "mug-03", 3.0)]
    assert len(pairs) == 240


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("query,relevant\na,b\n", [Pair("a", "b", 1.0)]),
        ("Weight,relevant ID,QUERY\n2.5,b,a\n", [Pair("a", "b", 2.5)]),
        ("left,right\n1,2\n", [Pair("1", "2", 1.0)]),
        ("left,right,times\na,b,7\nb,c,\n", [Pair("a", "b", 7.0), Pair("b", "c", 1.0)]),
        ("query_id,relevant_id,grade,note\na,b,3,x\n", [Pair("a", "b", 3.0)]),
    ],
)
def test_columns_are_known_by_name_or_by_place(tmp_path, text, expected):
    assert pairs_of(tmp_path, text) == expected


def test_json_lines_hold_pairs_too(tmp_path):
    text = '{"query": "a", "relevant": "b"}\n{"query": "b", "relevant": "c", "weight": 2}\n'
    assert pairs_of(tmp_path, text, "pairs.jsonl") == [Pair("a", "b", 1.0), Pair("b", "c", 2.0)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("query,relevant\n", "the table has no pairs below its header"),
        ("one,two,three,four\na,b,c,d\n", "no columns of pairs among 'one', 'two', 'three', 'four'"),
        ("query,relevant,grade\na,b,1\na,c,many\n", ":3, column 'grade': 'many' is not a number"),
        ("query,relevant,grade\na,b,nan\n", ":2, column 'grade': 'nan' is not finite"),
        ("query,relevant\na,\n", ":2, column 'relevant'"),
    ],
)
def test_an_invalid_pair_is_named_with_its_place(tmp_path, text, sentence):
    with pytest.raises(CatalogError, match=sentence):
        pairs_of(tmp_path, text)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="pairs come in a table"):
        pairs_of(tmp_path, "a b\n", "pairs.docx")
