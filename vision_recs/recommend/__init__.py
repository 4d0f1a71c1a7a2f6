"""Recommending: what the shop asks, and the policy that answers it."""

from vision_recs.recommend.query import Query
from vision_recs.recommend.recommender import (
    Recommender,
    open,  # noqa: A004 - vision_recs.open is how a shop is opened
    open_recommender,
    read_picture,
)

__all__ = ["Query", "Recommender", "open", "open_recommender", "read_picture"]
