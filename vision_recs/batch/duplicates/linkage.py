"""Complete linkage: groups in which every two are alike, so that no chain of likenesses brings together what is not."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TypeAlias

_Links: TypeAlias = dict[int, float]


def complete_linkage(pairs: Iterable[tuple[int, int, float]]) -> list[list[int]]:
    """Return the groups that *pairs* (one, other, score) make, each of two or more, ascending, by their first number.

    Each number begins as a group of its own. The two groups whose least score between a member of the one and a member
    of the other is the highest become one, again and again, until no two groups are left of which every two members
    are a pair. Of equal scores the groups with the lowest first numbers go first. A pair that is named twice counts
    with its lower score; one that is not named keeps two groups apart for good. Time and memory grow with the pairs,
    not with the square of the numbers.
    """
    links = _links(pairs)
    members = {number: [number] for number in links}
    # A group goes by its first number. Entries of groups that have changed changed_since are passed over when they come up.
    heap = [(-score, one, other) for one in links for other, score in links[one].items() if one < other]
    heapq.heapify(heap)
    while heap:
        least, one, other = heapq.heappop(heap)
        if links.get(one, {}).get(other) != -least:
            continue
        members[one] = sorted(members[one] + members.pop(other))
        for third, score in _join(links, one, other).items():
            heapq.heappush(heap, (-score, min(one, third), max(one, third)))
    return [members[first] for first in sorted(members) if len(members[first]) > 1]


def _links(pairs: Iterable[tuple[int, int, float]]) -> dict[int, _Links]:
    """Return the score of each number with each other one that it is paired with, both ways."""
    links: dict[int, _Links] = {}
    for one, other, score in pairs:
        if one == other:
            continue
        lowest = min(score, links.get(one, {}).get(other, score))
        links.setdefault(one, {})[other] = lowest
        links.setdefault(other, {})[one] = lowest
    return links


def _join(links: dict[int, _Links], one: int, other: int) -> _Links:
    """Let the group *one* take in the group *other*, and return its links to the groups that both were linked to."""
    first, second = links.pop(one), links.pop(other)
    for third in {*first, *second} - {one, other}:
        links[third].pop(one, None)
        links[third].pop(other, None)
    both = {third: min(first[third], second[third]) for third in first.keys() & second.keys()}
    for third, score in both.items():
        links[third][one] = score
    links[one] = both
    return both
