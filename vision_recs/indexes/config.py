"""What is wanted of an index, how it is searched, and what was measured of it.

An approximate index keeps how it was built and how it is searched in `profile.json` of its directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import ceil, exp, log
from pathlib import Path
from typing import Any

from vision_recs.errors import StoreDamaged, read_error
from vision_recs.file_formats import dump_checksummed, load_checksummed

_PROFILE = "profile.json"
_TOO_MANY = 1 << 48  # nothing of an index is as many


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """What is wanted of an index.

    *index_type* is "auto", a name in `INDEX_TYPES`, or "faiss:" and a factory string of FAISS. *max_memory* is how many
    bytes the index may take in memory; None sets no bound. *target_recall* is the recall@10 to reach, against exact
    search. Equal vectors and an equal *seed* give the same index.
    """

    index_type: str = "auto"
    max_memory: int | None = None
    target_recall: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What was measured of an index when it was built or last updated.

    *index_factory* describes the index as a factory string of FAISS does. The recalls are measured with the holdout
    queries of `holdout.sample_queries`. *queries_per_second* is the rate of single queries with k = 10 on one core.
    *bytes_per_vector* counts what has to be in memory. *target_recall_met* says whether recall@10 reaches the target.
    Of the vectors in the index, *in_delta* were added since it was built and lie beside the others, and *dead* ones
    were removed and are still there.
    """

    index_factory: str
    recall_at_1: float
    recall_at_10: float
    recall_at_100: float
    queries_per_second: float
    bytes_per_vector: float
    build_seconds: float
    target_recall_met: bool
    in_delta: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """How an index was built: its factory string, for how many vectors it was trained, and how long that took."""

    index_factory: str
    trained_for: int
    bytes_per_vector: float
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchParams:
    """How an index is searched for up to *k* matches.

    *search_effort* says how much of the index is looked at: `efSearch` of a graph, `nprobe` of inverted lists.
    *num_candidates* is how many candidates are scored exactly.
    """

    k: int
    search_effort: int
    num_candidates: int

    def towards(self, other: SearchParams, k: int) -> SearchParams:
        """Return the parameters for *k* matches on the line from these to *other*, those for more."""
        if k <= self.k or k == other.k:
            return self if k <= self.k else other
        share = (k - self.k) / (other.k - self.k)
        effort, count = (
            ceil(less + share * (more - less))
            for less, more in (
                (self.search_effort, other.search_effort),
                (self.num_candidates, other.num_candidates),
            )
        )
        return SearchParams(k, effort, count)


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """How an approximate index is searched, as `autotune` found out.

    *params* are by ascending k. *filtered* holds pairs (share, search effort), by ascending share: where a filter
    leaves that share of the vectors, a search with that effort finds 97 of 100 answers, if *filtered_factor* times k
    candidates are scored exactly; None says that no such number was enough. *rows_per_query* is how many vectors can be
    scored exactly in the time of one query without a filter.
    """

    params: tuple[SearchParams, ...]
    filtered: tuple[tuple[float, int], ...] = ()
    rows_per_query: int = 1000
    filtered_factor: int | None = 8

    def params_for(self, k: int) -> SearchParams:
        """Return how to search for *k* matches: between two measured k what is between their efforts.

        Beyond the largest measured k, the effort grows with *k*.
        """
        before = self.params[0]
        for params in self.params:
            if k <= params.k:
                found = before.towards(params, k)
                return found if found.num_candidates >= k else replace(found, num_candidates=k)
            before = params
        last = self.params[-1]
        times = k / last.k
        return SearchParams(k, round(last.search_effort * times), round(last.num_candidates * times))

    def filtered_effort(self, share: float) -> int | None:
        """Return the search effort for a filter that leaves *share* of the vectors.

        Between two measured shares it is between their efforts, on a line of logarithms; below the smallest one None,
        which says that only a scan finds all answers.
        """
        before: tuple[float, int] | None = None
        for measured, effort in self.filtered:
            if share <= measured:
                if before is None:
                    return effort if share == measured else None
                along = log(share / before[0]) / log(measured / before[0])
                return round(before[1] * exp(along * log(effort / before[1])))
            before = measured, effort
        return None if before is None else before[1]

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> SearchProfile:
        """Return the profile that `dataclasses.asdict` wrote, also after a round trip through JSON.

        Raises LookupError, TypeError or ValueError for something else.
        """
        profile = cls(
            tuple(SearchParams(**params) for params in value["params"]),
            tuple((share, effort) for share, effort in value["filtered"]),
            value["rows_per_query"],
            value["filtered_factor"],
        )
        profile.require_usable()
        return profile

    def require_usable(self) -> None:
        """Raise TypeError or ValueError where the numbers are none with which an index can be searched."""
        matches = [params.k for params in self.params]
        shares = [share for share, _ in self.filtered]
        counts = [count for params in self.params for count in (params.search_effort, params.num_candidates)]
        counts += [effort for _, effort in self.filtered]
        counts += [] if self.filtered_factor is None else [self.filtered_factor]
        if not all(isinstance(count, int) for count in (*matches, *counts, self.rows_per_query)):
            raise TypeError("a number that is not whole")
        if not matches or not all(0 < count < _TOO_MANY for count in (*matches, *counts, self.rows_per_query + 1)):
            raise ValueError("no numbers, or one that is too small or too large")
        ascends = all(less < more for numbers in (matches, shares) for less, more in pairwise(numbers))
        if not ascends or not all(0 < share <= 1 for share in shares):
            raise ValueError("numbers that do not ascend, or a share that is none")


def write_profile(directory: Path, build: BuildRecord, profile: SearchProfile) -> None:
    """Write `profile.json` into *directory*."""
    (directory / _PROFILE).write_bytes(dump_checksummed({"build": asdict(build), "search": asdict(profile)}))


def read_profile(directory: Path) -> tuple[BuildRecord, SearchProfile]:
    """Return what `write_profile` wrote into *directory*; raises StoreDamaged."""
    path = directory / _PROFILE
    try:
        value = load_checksummed(path.read_bytes())
        return BuildRecord(**value["build"]), SearchProfile.from_dict(value["search"])
    except (OSError, StoreDamaged) as error:
        raise read_error(path, error, "rebuild it with `visrec index`") from error
    except (LookupError, TypeError, ValueError) as error:  # another file with a checksum took its place
        raise StoreDamaged(f"{path} does not say how to search; rebuild it with `visrec index`") from error
