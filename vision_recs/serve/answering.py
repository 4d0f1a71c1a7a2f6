"""Answers that are kept: each has an id and belongs to an arm, may explore, and goes to the folder of events.

All of it is a function of what was asked, by whom, under what and in which hour: see `feedback.answers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from vision_recs.errors import VisionRecsError
from vision_recs.feedback.answers import AnswerKey, Draw, draw, hour_of, pseudonym, sees_candidate, sees_learned
from vision_recs.feedback.exploration import Slate
from vision_recs.feedback.records import ARMS, Answer, AnswerGiven, answer_line, candidate_arm, common_part
from vision_recs.recommend import Interest, Offer, Policy, Query, Shopping, Weighted
from vision_recs.recommend.personal import NOBODY
from vision_recs.recommend.segments import anything, offer_segments
from vision_recs.serve import convert
from vision_recs.serve.choices import Key
from vision_recs.serve.id_search import IdQuery
from vision_recs.serve.kept_answers import KeptAnswers, KeptChoice
from vision_recs.serve.recording import Recorder
from vision_recs.serve.schemas import QueryBody, SimilarItems
from vision_recs.serve.served import Served
from vision_recs.serve.shoppers import Shoppers

_encode = msgspec.json.Encoder().encode
_PLAIN, _LEARNED = ARMS


@dataclass(frozen=True, slots=True)
class Asked:
    """A query at a *time*, in seconds since 1970: *body*, with the *images* that came beside it.

    *for_candidate* is whether the shopper is one of those who are answered from a candidate.
    """

    body: QueryBody
    time: float
    images: Sequence[Weighted[bytes]] = ()
    for_candidate: bool = False

    @property
    def text(self) -> str:
        """What names the query; another shopper, or an explanation, does not make it another one."""
        body = msgspec.structs.replace(self.body, shopper=None, explain=False)
        images = [(hashlib.sha256(image.value).hexdigest(), image.weight, image.crop) for image in self.images]
        return _encode((body, images)).decode()


@dataclass(slots=True)
class _Prepared:
    """What is asked, and what decides the answer; nothing is *drawn* where there never was a folder of events.

    *key* names what the answer is chosen from, None where that is made for this answer alone.
    """

    asked: Asked
    query: Query
    policy: Policy
    shopping: Shopping = NOBODY
    shopper: str = ""
    arm: str = _PLAIN
    drawn: Draw | None = None
    key: Key | None = None


class KeptQuery(NamedTuple):
    """A query that is one id, asked at a *time*, in seconds since 1970, maybe for a *shopper*."""

    query: IdQuery
    time: float
    shopper: str | None
    reports_shown: bool

    @property
    def text(self) -> str:
        """What `Asked` names the query."""
        item, k, cover = self.query
        return _encode((QueryBody([item], k=k, cover=cover, reports_shown=self.reports_shown), ())).decode()


class _Decided(NamedTuple):
    """What is asked, and what follows from the hour and the shopper: whether an answer is learned, and its *draw*."""

    asked: KeptQuery
    key: Key
    shopper: str
    is_learned: bool
    draw: Draw


class Answering:
    """Answers queries, and keeps the answers; several threads may use it at once."""

    def __init__(self, recorder: Recorder, shoppers: Shoppers, policy: Policy, settings: str) -> None:
        """Answer under *policy*; *settings* names it, and all else that answers depend on beside a generation."""
        self._recorder = recorder
        self._shoppers = shoppers
        self._policy = policy
        self._settings = settings

    def is_for_candidate(self, asked: Asked, share: float) -> bool:
        """Whether *asked* is to be answered from a candidate, as the *share* of all shoppers are."""
        secret = self._recorder.secret
        who = self._pseudonym(asked.body) or f"{asked.text} {hour_of(asked.time)}"
        return secret is not None and sees_candidate(secret, who, share)

    def batch(self, snapshot: Served, asked: Sequence[Asked]) -> list[SimilarItems | Exception]:
        """Return, for each of *asked*, its answer, or the error that it raises."""
        answers: dict[int, SimilarItems | Exception] = {}
        prepared: dict[int, _Prepared] = {}
        for number, each in enumerate(asked):
            try:
                prepared[number] = self._prepare(snapshot, each)
            except VisionRecsError as error:
                answers[number] = error
        offers = _offers(snapshot, list(prepared.values()))
        records: dict[int, Answer] = {}
        for (number, ready), offer in zip(prepared.items(), offers, strict=True):
            try:
                answers[number] = _answer(snapshot, ready, offer)
            except VisionRecsError as error:
                answers[number] = error
            else:
                if isinstance(offer, Offer) and ready.drawn is not None:
                    records[number] = self._record(snapshot, ready, offer, ready.drawn)
        if records and self._recorder.keep_answers(list(records.values())):
            for number, record in records.items():
                answer = answers[number]
                assert isinstance(answer, SimilarItems)
                answer.answer = record.id
        return [answers[number] for number in range(len(asked))]

    def by_id(self, snapshot: Served, asked: Sequence[KeptQuery]) -> list[bytes | None]:
        """Return, for each of *asked*, its answer as JSON, or None where that is left to `batch`: it answers the same.

        Raises VisionRecsError where the items of *snapshot* are damaged.
        """
        kept, secret = snapshot.kept, self._recorder.secret
        if kept is None or secret is None or not self._recorder.is_writing:
            return [None] * len(asked)
        decided = [self._decided_by_id(snapshot, each, secret) for each in asked]
        choices = self._kept_choices(snapshot, kept, [each for each in decided if each is not None])
        given: list[tuple[AnswerGiven, KeptChoice] | None] = []
        for each in decided:
            choice = None if each is None else choices.get(each.key)
            if each is None or choice is None:
                given.append(None)
                continue
            explored = choice.slate.explored(each.draw.numbers)
            given.append((AnswerGiven(each.draw.id, each.asked.time, each.shopper, explored), choice))

        def answers(*, are_named: bool) -> list[bytes | None]:
            return [
                None
                if each is None
                else kept.answer(query.query, each[1], each[0].explored, each[0].id if are_named else None)
                for query, each in zip(asked, given, strict=True)
            ]

        kept.read((choice, answer.explored) for answer, choice in filter(None, given))
        made = answers(are_named=True)  # before they are logged: what cannot be read is left to `batch`, which logs it
        lines = [answer_line(each[1].line, each[0]) for each in given if each is not None]
        return made if self._recorder.keep_lines(lines) else answers(are_named=False)

    def _decided_by_id(self, snapshot: Served, asked: KeptQuery, secret: bytes) -> _Decided | None:
        """Return what decides the answer to *asked*; None where the interests of the shopper do, too."""
        shopper = pseudonym(secret, asked.shopper) if asked.shopper else ""
        known = self._shoppers.known(snapshot, shopper) if shopper else None
        text = asked.text
        is_learned, interests, drawn = self._drawn(
            secret, snapshot, text, shopper, asked.time, self._policy, () if known is None else known.interests
        )
        return None if interests else _Decided(asked, Key(text.encode(), is_learned), shopper, is_learned, drawn)

    def _kept_choices(
        self, snapshot: Served, kept: KeptAnswers, decided: Sequence[_Decided]
    ) -> dict[Key, KeptChoice | None]:
        """Return what each of *decided* is chosen from, by its key; what others asked for, too, is chosen from once."""
        found: dict[Key, KeptChoice | None] = {each.key: snapshot.kept_choices.get(each.key) for each in decided}
        missing = {each.key: each for each in decided if found[each.key] is None}
        made = kept.choices([(each.asked.query, each.is_learned) for each in missing.values()]) if missing else []
        for (key, each), new in zip(missing.items(), made, strict=True):
            if new is not None:
                choice, scores = new
                with_line = choice._replace(line=self._common_part(snapshot, each, choice.slate, scores))
                snapshot.kept_choices.keep(key, with_line)
                found[key] = with_line
        return found

    def _common_part(self, snapshot: Served, decided: _Decided, slate: Slate, scores: tuple[float, ...]) -> bytes:
        """Return what the lines of answers that are made from *slate*, whose items have *scores*, have in common."""
        return common_part(
            Answer(
                "",
                0.0,
                slate,
                arm=_LEARNED if decided.is_learned else _PLAIN,
                asked=decided.asked.query.item,
                scores=scores,
                generation=snapshot.facts.generation,
                policy=self._settings,
                model=snapshot.model if decided.is_learned else "",
                reports_shown=decided.asked.reports_shown,
            )
        )

    def for_you(self, snapshot: Served, asked: Asked) -> SimilarItems:
        """Return items for the shopper of *asked*, who is all that it names; raises FilterError and PolicyError."""
        body = asked.body
        shopper = self._pseudonym(body)
        known = self._shoppers.known(snapshot, shopper)
        told = "" if known is None else f"{len(known.history.events)} {known.history.events[-1].time}"
        prepared = _Prepared(asked, anything(body.k, convert.where_of(body)), self._policy, shopper=shopper)
        found = self._decided(snapshot, prepared, f"for {asked.text} {told}", ())
        recommender, policy = snapshot.recommender, found.policy
        policy = replace(policy, exclude=policy.exclude | self._shoppers.never(found.shopper))
        if known is not None and known.interests:
            query = Query(history=known.history, k=body.k, where=found.query.where)
            (offer,) = recommender.offer_batch([(query, policy, found.shopping)])
        else:
            offer = offer_segments(recommender, self._shoppers.segments(snapshot), found.query, policy)
        answer = _answer(snapshot, found, offer)
        if isinstance(offer, Offer) and found.drawn is not None:
            record = self._record(snapshot, found, offer, found.drawn)
            answer.answer = record.id if self._recorder.keep_answers([record]) else None
        return answer

    def _prepare(self, snapshot: Served, asked: Asked) -> _Prepared:
        query = convert.to_query(asked.body, asked.images)
        shopper = self._pseudonym(asked.body)
        known = self._shoppers.known(snapshot, shopper) if shopper and query.history is None else None
        text = asked.text
        prepared = _Prepared(asked, query, self._policy, shopper=shopper)
        found = self._decided(snapshot, prepared, text, () if known is None else known.interests)
        if found.shopping.interests or query.explain:
            return found
        found.key = Key(hashlib.sha256(text.encode()).digest(), found.policy.learn is not None)
        return found

    def _pseudonym(self, body: QueryBody) -> str:
        """Return the pseudonym of the shopper that *body* names, or an empty text."""
        secret = self._recorder.secret
        return pseudonym(secret, body.shopper) if secret is not None and body.shopper else ""

    def _decided(
        self,
        snapshot: Served,
        prepared: _Prepared,
        named: str,
        interests: tuple[Interest, ...],
    ) -> _Prepared:
        """Return *prepared* with what decides the answer to it, whose name is *named*, for one with *interests*."""
        asked, shopper = prepared.asked, prepared.shopper
        prepared.policy = policy = convert.to_policy(asked.body.policy, self._policy)
        secret = self._recorder.secret
        if secret is None:
            return prepared
        is_learned, interests, drawn = self._drawn(secret, snapshot, named, shopper, asked.time, policy, interests)
        prepared.drawn = drawn
        prepared.shopping = Shopping(drawn.numbers if self._recorder.is_writing else None, interests)
        arm = _LEARNED if is_learned else _PLAIN
        prepared.arm = candidate_arm(arm) if asked.for_candidate else arm
        prepared.policy = policy if is_learned or policy.learn is None else replace(policy, learn=None)
        return prepared

    def _drawn(  # noqa: PLR0913, PLR0917 - all that decides an answer
        self,
        secret: bytes,
        snapshot: Served,
        named: str,
        shopper: str,
        time: float,
        policy: Policy,
        interests: tuple[Interest, ...],
    ) -> tuple[bool, tuple[Interest, ...], Draw]:
        """Return whether an answer under *policy* is learned, which *interests* move it, and what is random in it."""
        hour, facts = hour_of(time), snapshot.facts
        is_learned = policy.learn is not None and sees_learned(secret, shopper or f"{named} {hour}", policy.learn.share)
        if not is_learned or policy.learn is None or not policy.learn.interests:
            interests = ()
        named = f"{named} {[interest.medoid for interest in interests]}"
        key = AnswerKey(named, shopper, f"{self._settings} {facts.created}", facts.generation, hour)
        return is_learned, interests, draw(secret, key)

    def _record(self, snapshot: Served, prepared: _Prepared, offer: Offer, drawn: Draw) -> Answer:
        return Answer(
            drawn.id,
            prepared.asked.time,
            offer.slate,
            prepared.shopper,
            prepared.arm,
            offer.asked,
            offer.explored,
            offer.scores,
            offer.deltas,
            snapshot.facts.generation,
            self._settings,
            "" if prepared.policy.learn is None else snapshot.model,
            prepared.asked.body.reports_shown,
        )


def _offers(snapshot: Served, prepared: Sequence[_Prepared]) -> list[Offer | VisionRecsError]:
    """Return the offer of each of *prepared*, or its error; what others asked for, too, is chosen from once."""
    choices = snapshot.choices
    found = [None if each.key is None else choices.get(each.key) for each in prepared]
    missing = [each for each, choice in zip(prepared, found, strict=True) if choice is None]
    made = iter(snapshot.recommender.choices([(each.query, each.policy, each.shopping.interests) for each in missing]))
    offers: list[Offer | VisionRecsError] = []
    for each, known in zip(prepared, found, strict=True):
        choice = next(made) if known is None else known
        if isinstance(choice, VisionRecsError):
            offers.append(choice)
            continue
        if known is None and each.key is not None:
            choices.keep(each.key, choice)
        try:
            offers.append(choice.offer(each.shopping.numbers))
        except VisionRecsError as error:
            offers.append(error)
    return offers


def _answer(snapshot: Served, prepared: _Prepared, offer: Offer | VisionRecsError) -> SimilarItems:
    if isinstance(offer, VisionRecsError):
        raise offer
    return convert.to_similar_items(
        snapshot, prepared.query, prepared.policy, offer.matches, cover=prepared.asked.body.cover
    )
