"""A slow, plain model of a folder of events: all records in lists, every question answered from the beginning.

Also random days of a shop, to compare the two with.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from slates import Option, slate_of

from vision_recs.feedback.answers import AnswerKey, draw, half_of, pseudonym
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.current import read_current
from vision_recs.feedback.event_log import EventFolder, EventLog
from vision_recs.feedback.exploration import Exploration
from vision_recs.feedback.records import Answer, Event, with_id

START = 1_780_000_000.0  # 2026-05-28 20:26:40 UTC
HOUR, DAY = 3_600.0, 86_400.0
NOW = START + 5 * DAY
SHOPPERS = 4
NEAR_MIDNIGHT = (0.0, 11_600.0, 12_700.0)  # seconds after START: most mistakes are about two days


class PlainEvents:
    """What was appended, each id once."""

    def __init__(self):
        self.answers, self.events = {}, {}

    def append(self, records):
        for record in records:
            known = self.answers if isinstance(record, Answer) else self.events
            known.setdefault(record.id, record)

    def forget(self, shopper):
        gone = {answer.id for answer in self.answers.values() if answer.shopper == shopper}
        self.answers = {key: each for key, each in self.answers.items() if key not in gone}
        self.events = {
            key: each for key, each in self.events.items() if each.shopper != shopper and each.answer not in gone
        }

    def attributed(self):
        """Yield each event that counts, with its answer and its place from 1."""
        for event in self.events.values():
            answer = self.answers.get(event.answer)
            found = None
            if event.type in {"cart", "buy"}:
                shopper = event.shopper or (answer.shopper if answer else "")
                clicks = [
                    (click.time, click.id, own.id, own.shown.index(click.item) + 1)
                    for click, own in self.clicks()
                    if shopper and (click.shopper or own.shopper) == shopper and click.item == event.item
                    if click.time <= event.time <= click.time + DAY
                ]
                if clicks:
                    found = max(clicks)[2:]
                elif answer and event.item in answer.shown and -300 <= event.time - answer.time <= DAY:
                    found = answer.id, answer.shown.index(event.item) + 1
            elif answer and event.item in answer.shown and -300 <= event.time - answer.time <= HOUR:
                found = answer.id, answer.shown.index(event.item) + 1
            if found:
                yield event, *found

    def clicks(self):
        for event in self.events.values():
            answer = self.answers.get(event.answer)
            is_shown = event.type == "click" and answer is not None and event.item in answer.shown
            if is_shown and -300 <= event.time - answer.time <= HOUR:
                yield event, answer

    def counts(self):
        """Return the sums by (day, arm, half, asked, shown, place): a row of COUNTS without its keys, by name."""
        seen = defaultdict(set)
        value = Counter()
        for event, answer, place in self.attributed():
            seen[answer, place].add(event.type)
            value[answer, place] += event.value if event.type == "buy" else 0.0
        found = defaultdict(Counter)
        for answer in self.answers.values():
            scores = dict(zip((*answer.slate.ranked, *answer.slate.outside), answer.scores, strict=True))
            for place, item in enumerate(answer.shown, 1):
                done = seen.get((answer.id, place))
                if answer.reports_shown and done is None:
                    continue
                half = half_of(answer.shopper or answer.id)
                day = datetime.fromtimestamp(answer.time, UTC).date().isoformat()
                own = found[day, answer.arm, half, answer.asked, item, place]
                own["impressions"] += 1
                for kind, name in (("click", "clicks"), ("cart", "carts"), ("buy", "buys"), ("dismiss", "dismissals")):
                    own[name] += kind in (done or ())
                own["value"] += value[answer.id, place]
                own["score"] += scores[item]
                own["best"] += max(answer.scores)
        return found


class RandomShop:
    """Random answers and events of a few shoppers over some days: enough for whatever may go wrong to happen."""

    def __init__(self, seed, secret, *, days=4):
        self.random = random.Random(seed)
        self.secret = secret
        self.days = days
        self.shoppers = ["", *(pseudonym(secret, f"shopper {number}") for number in range(SHOPPERS))]
        self.given = []
        self.made = 0

    def answer(self):
        r = self.random
        items = [f"item{number}" for number in r.sample(range(12), r.randint(1, 8))]
        scores = sorted((round(r.random(), 3) for _ in items), reverse=True)
        options = [Option(*pair) for pair in zip(items, scores, strict=True)]
        slate = slate_of(options, r.randint(1, 5), Exploration(0.5, r.choice([None, (2, 3)])))
        self.made += 1
        drawn = draw(self.secret, AnswerKey("q", "", "", 1, self.made))
        answer = Answer(
            drawn.id,
            START
            + (r.random() if r.random() < 0.5 else r.randrange(4) / 4) * self.days * DAY
            + r.choice(NEAR_MIDNIGHT),
            slate,
            r.choice(self.shoppers),
            r.choice(["plain", "learned"]),
            r.choice(["asked1", "asked2", ""]),
            slate.explored(drawn.numbers),
            tuple(scores),
            reports_shown=r.random() < 0.2,
        )
        self.given.append(answer)
        return answer

    def event(self):
        """Return an event that may belong to an answer, or not: too late, of an item that was not shown, unknown."""
        r = self.random
        answer = r.choice(self.given)
        item = r.choice(answer.shown) if r.random() < 0.9 else "another"
        kind = r.choice(["shown", "click", "click", "click", "cart", "buy", "dismiss"])
        wait = r.choice([60, 60, 600, 3_000, 5_000, 80_000, 88_000, 100_000, -200, -1_000])
        names = r.random() < (0.6 if kind in {"cart", "buy"} else 1.0)
        shopper = (
            answer.shopper if not names and answer.shopper else r.choice(["", *self.shoppers]) if not names else ""
        )
        return with_id(
            Event(
                "",
                kind,
                item,
                answer.time + wait + r.random(),
                answer.id if names else "",
                shopper or ("" if names else self.shoppers[1]),
                value=float(r.randint(0, 50)) if kind == "buy" else 0.0,
            )
        )


class _Both:
    """A log, and the plain model of its folder."""

    def __init__(self, plain, log):
        self.plain, self.log = plain, log

    def append(self, records):
        self.plain.append(records)
        self.log.append(records)


def counts_of(folder):
    """Return the counts of all days by (day, arm, half, asked, shown, place)."""
    found = {}
    for date, parts in read_current(EventFolder(folder)).days.items():
        for row in pq.read_table(folder / parts["counts"].path).to_pylist():
            key = (date, *(row.pop(name) for name in ("arm", "half", "asked", "shown", "place")))
            assert key not in found
            found[key] = row
    return found


def assert_equal(counts, expected):
    assert counts.keys() == expected.keys()
    for key, row in counts.items():
        for name, value in row.items():
            assert value == pytest.approx(expected[key][name]), (key, name)


def scenario(folder, seed):
    """Append random records, some of them twice, in several logs, with compactions anywhere; return the plain model."""
    EventLog(folder).close()
    shop = RandomShop(seed, EventFolder(folder).read_secret())
    random, plain = shop.random, PlainEvents()
    logs = [EventLog(folder, worker=str(number)) for number in range(2)]
    kept = []
    for _ in range(random.randint(10, 60)):
        step = random.random()
        if step < 0.35 or not shop.given:
            answer = shop.answer()
            target = _Both(plain, random.choice(logs))
            if random.random() < 0.2:
                kept.append([answer])
            else:
                target.append([answer])
        elif step < 0.75:
            _Both(plain, random.choice(logs)).append([shop.event() for _ in range(random.randint(1, 4))])
        elif step < 0.8 and plain.events:
            _Both(plain, random.choice(logs)).append([random.choice([*plain.events.values(), *plain.answers.values()])])
        elif step < 0.85 and kept:
            _Both(plain, random.choice(logs)).append(kept.pop())  # an answer after its events
        elif step < 0.9:
            random.choice(logs).close()
        else:
            compact(folder, now=NOW)
    for records in kept:
        _Both(plain, logs[0]).append(records)
    for log in logs:
        log.close()
    return plain


def answer_of(secret, number=0, *, shopper="", time=START, items=("a", "b", "c", "d"), **more):
    options = [Option(item, 0.9 - place / 10) for place, item in enumerate(items)]
    slate = slate_of(options, 3, Exploration(0.5))
    drawn = draw(secret, AnswerKey("q", "", "", 1, number))
    return Answer(drawn.id, time, slate, shopper, asked="q", scores=tuple(option.score for option in options), **more)


def click_on(answer, item="a", *, kind="click", after=60.0, **more):
    return with_id(Event("", kind, item, answer.time + after, answer.id, **more))
