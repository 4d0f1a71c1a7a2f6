"""The slate of options that are in order, as a sentence says it."""

from typing import NamedTuple

from vision_recs.feedback.exploration import Exploration, Outside, Slate


class Option(NamedTuple):
    """A candidate for an answer: its id, its score, and how likely it is tried beside others, by its *weight*."""

    id: str
    score: float = 0.0
    weight: float = 1.0


def slate_of(options, count, exploration=Exploration(), pins=None):  # noqa: B008 - it does not change
    """Return the slate that shows the best *count* of *options*, which are in order, besides *pins*."""
    outside = [option for option in options[count:] if exploration.admits(option.score)]
    ids, weights = (tuple(getattr(option, name) for option in outside) for name in ("id", "weight"))
    return Slate.of([option.id for option in options[:count]], Outside(ids, weights), exploration, pins or {})
