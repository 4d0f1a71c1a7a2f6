"""Features: which attributes are compared, and how."""

import numpy as np
import pytest

from vision_recs.feedback.features import Columns, Features

SHOP = {
    f"i{number}": {
        "title": f"Mug no {number}",
        "type": "mug" if number % 2 else "cup",
        "price": float(number + 1),
        "stock": number % 3 == 0,
        "weight": number - 3,
        "rare": "x" if number == 0 else None,
        "constant": "same",
    }
    for number in range(100)
}


def test_titles_constants_and_rare_attributes_teach_nothing():
    assert Features.of(SHOP) == Features(("stock", "type"), ("price",))


def test_equal_attributes_give_equal_features():
    assert Features.of(dict(reversed(SHOP.items()))) == Features.of(SHOP)
    assert Features.of({}) == Features()


def test_pairs_by_hand():
    features = Features(("type",), ("price",))
    assert features.names == ("score", "below the best", "same type", "distance of price", "lower price")
    columns = Columns.of(
        features,
        [
            {"type": "mug", "price": 10.0},
            {"type": "mug", "price": 5.0},
            {"type": "cup", "price": 20},
            {"type": None, "price": 0},
        ],
    )
    asked, shown = columns.take(np.zeros(4, np.int64)), columns.take(np.array([1, 2, 3, -1]))
    found = features.matrix(asked, shown, np.array([0.9, 0.8, 0.7, 0.6]), np.full(4, 0.9))
    half = np.log(2)
    nan = np.nan
    assert found == pytest.approx(
        np.array(
            [[0.9, 0, 1, half, half], [0.8, 0.1, 0, half, 0], [0.7, 0.2, nan, nan, nan], [0.6, 0.3, nan, nan, nan]]
        ),
        nan_ok=True,
    )


def test_true_is_not_one():
    columns = Columns.of(Features(("a",)), [{"a": True}, {"a": 1}, {"a": True}])
    assert columns.codes["a"].tolist() == [0, 1, 0]
