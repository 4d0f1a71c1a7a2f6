"""Answering queries: from a query and a policy to the items that are similar.

query          Query and Policy: what is searched for, and what holds for every answer
history        a shopper's history, read from a file; interests finds the interests in it
rules          the rules of a shop; rules_file reads them from TOML
colors         a filter for the colors that a text names
query_encoder  the vectors of a query's images and texts
eligibility    which images may be candidates, and their ranks
retrieve       the score of an image, and the search for the best candidates; neighborhood does it on arrays, of what
               by_position finds
ordered        the candidates of a pool as they are moved: by learned for what `visrec learn` published, by personal
               for what a shopper looks at
segments       answers for shoppers of whom nothing is known
offers         an answer with what it was chosen from, which may explore
ahead          one search for a batch of plain queries
averaging      the order of a pool by vectors averaged with those most like them
diversity      a pool of candidates, from which unlike ones are taken
rerank         the answer, place by place, and why each match is in it
recommender    Recommender, which does all of this; it stands on an `ItemSource` and a `VectorIndex`
partitions     both of them over several stores that hold the items together; `stores` opens these, and in `joined`
               their vectors have positions, for jobs over all items

A query by id imports none of filters, rules, history and query_encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.recommend.history import Event, History, read_history
    from vision_recs.recommend.interests import Interest
    from vision_recs.recommend.offers import Offer
    from vision_recs.recommend.personal import Shopping
    from vision_recs.recommend.query import DEFAULT_DIVERSITY, EVERY_ITEM, VARIANTS, Learn, Policy, Query, Weighted
    from vision_recs.recommend.recommender import (
        Recommender,
        open,  # noqa: A004 - vision_recs.open is how a store is opened for queries
        open_stores,
        read_image,
    )
    from vision_recs.recommend.rules import Rules
    from vision_recs.recommend.rules_file import read_policy

_HOMES = {
    "DEFAULT_DIVERSITY": "query",
    "EVERY_ITEM": "query",
    "Event": "history",
    "History": "history",
    "Interest": "interests",
    "Learn": "query",
    "Offer": "offers",
    "Policy": "query",
    "Query": "query",
    "Recommender": "recommender",
    "Rules": "rules",
    "Shopping": "personal",
    "VARIANTS": "query",
    "Weighted": "query",
    "open": "recommender",
    "open_stores": "recommender",
    "read_history": "history",
    "read_image": "recommender",
    "read_policy": "rules_file",
}

__all__ = [
    "DEFAULT_DIVERSITY",
    "EVERY_ITEM",
    "VARIANTS",
    "Event",
    "History",
    "Interest",
    "Learn",
    "Offer",
    "Policy",
    "Query",
    "Recommender",
    "Rules",
    "Shopping",
    "Weighted",
    "open",
    "open_stores",
    "read_history",
    "read_image",
    "read_policy",
]

__getattr__ = lazy_names(__name__, _HOMES)
