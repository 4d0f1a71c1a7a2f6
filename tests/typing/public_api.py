"""The public names as a user's type checker sees them: mypy --strict reads this file beside the installed package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import assert_type

import vision_recs
from vision_recs import (
    CatalogOptions,
    EmbedReport,
    Encoder,
    EncoderInfo,
    EncoderSpec,
    Explanation,
    Filter,
    History,
    ImageData,
    ImageSource,
    IndexOptions,
    Item,
    Match,
    Policy,
    Progress,
    Query,
    Recommender,
    Store,
    Unchanged,
    VisionRecsError,
    Weighted,
)
from vision_recs.types import Attribute


def index_a_catalog(path: Path) -> None:
    options = IndexOptions(catalog=CatalogOptions(id_column="sku"), target_recall=0.9)
    report = vision_recs.index(path, "shop", encoder="clip", options=options, progress=show)
    assert_type(report, EmbedReport)
    assert_type(report.items, int)
    assert_type(vision_recs.embed(path, "shop"), EmbedReport)
    assert_type(vision_recs.export("shop", path), int)
    assert_type(vision_recs.verify("shop"), Iterator[str])


def show(progress: Progress) -> None:
    assert_type(progress.done, int)
    assert_type(progress.total, int | None)


def find_similar_items(path: Path, shopper: History) -> None:
    shop = vision_recs.open("shop", device="cpu")
    assert_type(shop, Recommender)
    matches = shop.similar("mug-01", "mug-02", k=3, where="price < 30", policy=Policy(one_per=None))
    assert_type(matches, list[Match])
    assert_type(matches[0].score, float)
    assert_type(matches[0].attributes, Mapping[str, Attribute])
    assert_type(matches[0].explanation, Explanation | None)
    assert_type(shop.similar_to_image(path), list[Match])
    query = Query(items=("mug-01", Weighted("mug-02", 2)), history=shopper, where=Filter.parse("in_stock"))
    assert_type(shop.query(query, vision_recs.read_policy("rules.toml")), list[Match])
    assert_type(shop.query_batch([(query, Policy())]), list[list[Match] | VisionRecsError])
    assert_type(vision_recs.read_history("history.jsonl"), History)


def read_a_store() -> None:
    store = Store.open("shop")
    assert_type(store, Store)
    assert_type(store.generation, int)


def choose_an_encoder() -> None:
    encoder = vision_recs.load_encoder("clip")
    assert_type(encoder, Encoder)
    assert_type(encoder.spec, EncoderSpec)
    assert_type(vision_recs.list_encoders(), list[EncoderInfo])


class Bucket:
    """Images of our own."""

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        return Unchanged() if known == reference else ImageData(reference.encode(), reference)


def read_images_from_elsewhere() -> None:
    source: ImageSource = Bucket()
    assert_type(vision_recs.open("shop", images=source), Recommender)


def make_an_item() -> Item:
    return Item("mug-01", ("mug.jpg",), {"price": 14.9})


assert_type(vision_recs.__version__, str)
