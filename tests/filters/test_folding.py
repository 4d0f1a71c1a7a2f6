"""A filter folded for a part of the items matches what it matched, and fits the attributes of the part."""

from hypothesis import given
from hypothesis import strategies as st
from random_filters import NAMES, attributes, trees

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.folding import fold


def types_of(items):
    types = {}
    for item in items:
        for name, value in item.items():
            types[name] = types.get(name, AttributeType(0)) | AttributeType.of(value)
    return types


@given(tree=trees(st.sampled_from(NAMES)), items=st.lists(attributes, max_size=3))
def test_it_matches_the_same_items_and_fits_their_attributes(tree, items):
    where = Filter(tree)
    folded = fold(where, types_of(items))
    if not isinstance(folded, bool):
        folded.check(types_of(items))
    for number, item in enumerate(items):
        found = folded if isinstance(folded, bool) else folded.matches(item, f"a{number}")
        assert found == where.matches(item, f"a{number}")


def test_what_the_part_lacks_is_decided_at_once():
    schema = {"color": AttributeType.TEXT, "price": AttributeType.NUMBER}

    def folded(expression):
        found = fold(Filter.parse(expression), schema)
        return found if isinstance(found, bool) else str(found)

    assert folded('brand == "acme"') is False
    assert folded('brand != "acme"') is True
    assert folded("brand is null") is True
    assert folded('color == "red" and brand is null') == 'color == "red"'
    assert folded('color == "red" or price == "soon"') == 'color == "red"'
    assert folded('price in [3, "soon"]') == "price in [3]"
    assert folded('not (price < 3 and color == "red")') == 'not (price < 3 and color == "red")'
    assert folded('id == "mug-01"') == 'id == "mug-01"'
    where = Filter.parse("price < 3")
    assert fold(where, schema) is where  # with its columns, for the messages
