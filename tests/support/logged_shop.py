"""A store of sixty items, and the log of shoppers who like what is cheap; half of their answers explore."""

import numpy as np
from fake_shop import Shop, index
from slates import Option, slate_of

from vision_recs.feedback import EventLog
from vision_recs.feedback.answers import AnswerKey, draw, pseudonym
from vision_recs.feedback.exploration import Exploration
from vision_recs.feedback.records import Answer, Event, with_id
from vision_recs.recommend import Policy, Query, Recommender

START = 1_780_000_000.0


def make_store(store, encoder=None):
    catalog = Shop()
    for number in range(60):
        catalog.put(f"item{number:03}", number, price=float(10 + number % 9 * 5), kind=f"kind{number % 4}")
    index(catalog, store, encoder)


def pools_of(store):
    with Recommender.open(store) as recommender:
        policy = Policy(one_per=None)
        return {item: recommender.query(Query(items=(item,), k=15), policy) for item in recommender.items.ids()}


def write_log(store, events, answers, *, seed=1, start=START):
    """Append *answers* answers, a second after each other, two to each shopper, and the clicks that they got."""
    pools = pools_of(store)
    ids = sorted(pools)
    random = np.random.default_rng(seed)
    with EventLog(events) as log:
        records = []
        for number in range(answers):
            asked = ids[int(random.integers(len(ids)))]
            pool = pools[asked]
            slate = slate_of([Option(match.id, match.score) for match in pool], 10, Exploration(0.5))
            drawn = draw(log.secret, AnswerKey(asked, "", str(seed), 1, number))
            answer = Answer(
                drawn.id,
                start + number,
                slate,
                pseudonym(log.secret, f"shopper {seed} {number // 2}"),
                "learned" if number // 2 % 4 else "plain",
                asked,
                slate.explored(drawn.numbers),
                tuple(match.score for match in pool),
                generation=1,
            )
            records.append(answer)
            cheap = {match.id for match in pool if float(match.attributes["price"]) < 30}
            for place, item in enumerate(answer.shown):
                if random.random() < (0.35 if item in cheap else 0.03) / (1 + place) ** 0.7:
                    records.append(with_id(Event("", "click", item, answer.time + 5, answer.id)))
        log.append(records)
    return records
