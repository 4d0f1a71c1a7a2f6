"""Recommending: what the shop asks, and the policy that answers it.

query history       what is asked: items, images, words, a shopper's history -> asking, interests -> questions
policy rules        what the shop wants of every answer; rules_file reads it from TOML
search sieve        the best candidates, exactly, and what the policy lets through
choosing diversity  the answer, place by place; explain says why
together            several queries at once, for which the index is searched once

A query by id imports neither the language of filters nor what reads rules and histories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.recommend.history import Event, History, read_history
    from vision_recs.recommend.interests import Interest
    from vision_recs.recommend.policy import DEFAULT_DIVERSITY, EVERY_ITEM, VARIANTS, Policy
    from vision_recs.recommend.query import Query, Weighted
    from vision_recs.recommend.recommender import (
        Recommender,
        open,  # noqa: A004 - vision_recs.open is how a shop is opened
        open_recommender,
        read_image,
    )
    from vision_recs.recommend.rules import Rules
    from vision_recs.recommend.rules_file import read_policy

_HOMES = {
    "DEFAULT_DIVERSITY": "policy",
    "EVERY_ITEM": "policy",
    "Event": "history",
    "History": "history",
    "Interest": "interests",
    "Policy": "policy",
    "Query": "query",
    "Recommender": "recommender",
    "Rules": "rules",
    "VARIANTS": "policy",
    "Weighted": "query",
    "open": "recommender",
    "open_recommender": "recommender",
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
    "Policy",
    "Query",
    "Recommender",
    "Rules",
    "Weighted",
    "open",
    "open_recommender",
    "read_history",
    "read_image",
    "read_policy",
]

__getattr__ = lazy_names(__name__, _HOMES)
