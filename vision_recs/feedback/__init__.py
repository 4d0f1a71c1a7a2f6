"""Learning from what shoppers do: answers that explore safely, a log of events, a model, and what it brings.

answers       answers as functions: ids that can be checked, pseudonyms, and all that is random
exploration   one open place of an answer shows one other item, with a closed formula for every probability
records       answers and events, and the lines of the log that hold them
event_log     the folder of events, and the log of one process: append only, durable before it is acknowledged
importing     a shop's own logs become answers and events
compaction    the lines become days and counts, each once; current names the files in use, day_files has their columns
candidates    which candidate stores ended
merging       answers of a shop's log that grow from import to import
attribution   which answer an event belongs to, and which shoppers are programs
histories     what a shopper did, from days and logs; liking says what all of them like
forgetting    a shopper who is forgotten leaves no byte and no count
verification  checking every byte of a folder of events
counts        counts as arrays; logged has the answers as arrays, with how likely each item was looked at
features      how an item compares with the item asked for; fitting fits the model to the counts
model         the learned model: expected clicks, how far that moves an item, and the file
value         what another policy would have brought, with bounds over shoppers
learning      `learn`: a model, judged by shoppers that it has not seen
replaying     `replay`: what another policy would have brought to the shoppers of the log
arms          `outcomes`: what did happen, by arm; anytime has bounds that hold whenever one looks
changes       what changed since a date, and outcomes by group; drift says whether vectors differ from those of before
pairs         clicks as judgments for `evaluate` and `tune`
summary       what a folder holds, day by day
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.feedback.arms import Outcomes, outcomes
    from vision_recs.feedback.compaction import Compacted, compact
    from vision_recs.feedback.counts import Counts, read_counts
    from vision_recs.feedback.event_log import EventLog
    from vision_recs.feedback.forgetting import forget
    from vision_recs.feedback.histories import Histories
    from vision_recs.feedback.importing import import_events
    from vision_recs.feedback.learning import LearnReport, learn
    from vision_recs.feedback.logged import LoggedAnswers, read_answers
    from vision_recs.feedback.model import Learned
    from vision_recs.feedback.records import Answer, Event
    from vision_recs.feedback.replaying import Replayed, replay
    from vision_recs.feedback.verification import verify

_HOMES = {
    "Answer": "records",
    "Compacted": "compaction",
    "Counts": "counts",
    "Event": "records",
    "EventLog": "event_log",
    "Histories": "histories",
    "LearnReport": "learning",
    "Learned": "model",
    "LoggedAnswers": "logged",
    "Outcomes": "arms",
    "Replayed": "replaying",
    "compact": "compaction",
    "forget": "forgetting",
    "import_events": "importing",
    "learn": "learning",
    "outcomes": "arms",
    "read_answers": "logged",
    "read_counts": "counts",
    "replay": "replaying",
    "verify": "verification",
}

__all__ = [
    "Answer",
    "Compacted",
    "Counts",
    "Event",
    "EventLog",
    "Histories",
    "LearnReport",
    "Learned",
    "LoggedAnswers",
    "Outcomes",
    "Replayed",
    "compact",
    "forget",
    "import_events",
    "learn",
    "outcomes",
    "read_answers",
    "read_counts",
    "replay",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
