"""Random filters and random attributes that have much to do with one another, for hypothesis."""

import math

from hypothesis import strategies as st

from vision_recs.filters import AttributeType
from vision_recs.filters.ast import And, Compare, Has, In, IsNull, IsTrue, Name, Not, Or, TextMatch, Value
from vision_recs.types import normal_form

NAMES = ["a", "b", "price", "größe (cm)", 'q"uote', "back`tick", "", "a.b", "$.a", "[0]", "in", "back\\slash", "id"]
NUMBERS = [
    *(-1, 0, 1, 2, 3, 0.5, -0.0, 14.9, 1e300, -1e300, 5e-324, 2.0**53, 2.0**63),
    *(2**53 + near for near in (-1, 0, 1, 2, 3)),
    *(2**62 + 1, 2**63 - 1, -(2**63), -(2**53) - 1, 9007199254740994.0),
]
TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "b",
    "ba",
    "Ä",
    "ä",
    "äb",
    "ab\nc",
    "%",
    "'",
    '"',
    "\\",
    "1",
    "true",
    "null",
    "\U0001f600",
    "￿",
    "aab",
    '["a", "ab"]',
    '["a", 1, 2.0, true, null, ["b"]]',
    '["Ä\\"", "\\n"]',
    "[]",
    "[a",
    '["a"',
    "0001",
]

no_nul = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.one_of(st.sampled_from(TEXTS), st.text(no_nul, max_size=6).map(normal_form))
numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: float(f"{number:.15g}")).filter(math.isfinite),
)
attributes = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(st.none(), st.booleans(), numbers, texts), max_size=len(NAMES)
)


def values(which=None):
    """Return literals: of text, of numbers, of truth, or of any kind."""
    kinds = {
        AttributeType.TEXT: texts,
        AttributeType.NUMBER: numbers,
        AttributeType.BOOLEAN: st.booleans(),
    }
    chosen = [kind for kind in kinds if which is None or kind & which]
    return st.one_of(*(st.builds(Value, st.just(kind), kinds[kind]) for kind in chosen))


def leaves(names):
    ordered = AttributeType.TEXT | AttributeType.NUMBER
    return st.one_of(
        st.builds(IsTrue, names),
        st.builds(IsNull, names),
        st.builds(Compare, names, st.just("=="), values()),
        st.builds(Compare, names, st.sampled_from(["<", "<=", ">", ">="]), values(ordered)),
        st.builds(Has, names, values()),
        st.builds(In, names, st.lists(values(), max_size=5).map(tuple)),
        st.builds(
            TextMatch, names, st.sampled_from(["startswith", "endswith", "contains"]), values(AttributeType.TEXT)
        ),
    )


def trees(names=None):
    """Return trees such as the parser makes: what stands together are two or more."""
    named = st.builds(
        Name,
        names if names is not None else st.one_of(st.sampled_from(NAMES), st.text(no_nul, max_size=5).map(normal_form)),
    )
    return st.recursive(
        leaves(named),
        lambda part: st.one_of(
            part.map(Not),
            st.lists(part, min_size=2, max_size=3).map(tuple).map(And),
            st.lists(part, min_size=2, max_size=3).map(tuple).map(Or),
        ),
        max_leaves=8,
    )
