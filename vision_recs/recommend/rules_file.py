"""The rules of a shop in a TOML file; a mistake in it is reported as one sentence that says where it is."""

from __future__ import annotations

import difflib
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from vision_recs.errors import FilterError, PolicyError
from vision_recs.feedback.exploration import MOST_EXPLORED, Exploration
from vision_recs.filters import Filter
from vision_recs.recommend.query import VARIANTS, Learn, Policy
from vision_recs.recommend.rules import (
    RELAXABLE,
    AttributeRule,
    Boost,
    Bounds,
    Condition,
    Differ,
    Exclude,
    Pin,
    Rules,
    Same,
)
from vision_recs.small_files import text_of
from vision_recs.types import normal_form

R = TypeVar("R")

_TABLES = {"bounds", "exclude", "boost", "bury", "pin", "learn"}
_KEYS = {"one_per", "min_score", "diversity", "averaging", "same", "differ", "fallbacks", *_TABLES}
_CONDITION = {"for", "when", "name"}
_EXPLORING = {"explore", "places", "min_score"}


def read_policy(path: str | Path) -> Policy:
    """Return the policy that the file *path* describes.

        one_per = "variant_group"       # one item for each value of an attribute; false shows all variants
        min_score = 0.3
        diversity = 0.3
        same = ["category"]             # the same value as a query item
        differ = ["brand"]              # another value than every query item
        fallbacks = ["bounds.price", "same.category"]   # relaxed in this order where too few items are found

        [bounds]
        price = [0.5, 2]                # from half to twice the price of a query item

        [learn]                         # the order follows what `visrec learn` published, too
        most = 0.2                      # the most that an item is moved, as a score
        interests = 0.2                 # the most that it is moved for what the shopper looks at
        share = 0.9                     # of the shoppers get such answers, the others plain ones
        explore = 0.3                   # of these answers show one item that is not among the best
        places = [2, 10]                # where they do, from the first to the last
        min_score = 0.3                 # of an item that is tried so

        [[exclude]]                     # never shown
        where = "not in_stock"

        [[boost]]                       # or [[bury]]: ranked as if 0.05 were added to the score, or taken off
        name = "our own"
        where = 'brand == "Own"'
        by = 0.05

        [[pin]]                         # shown at a place, counted from 1
        item = "mug-05"
        at = 1

    Each exclude, boost, bury and pin may have `for = ["mug-01"]` or `when = 'category == "mug"'`: then it applies only
    where one of these items, or an item that matches, is a query item. Raises PolicyError, which names the file, the
    table and the key.
    """
    return _File(str(path), _content(path)).policy()


def _content(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text_of(path))
    except OSError as error:
        raise PolicyError(f"cannot be read ({error.strerror}); check the path", path=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"is not TOML ({error}); put text in quotes and lists in brackets", path=str(path)) from None
    except ValueError:
        raise PolicyError("has a number of thousands of digits; write a smaller one", path=str(path)) from None
    except RecursionError:
        raise PolicyError("holds too many lists in each other; no rule needs them", path=str(path)) from None


class _File:
    def __init__(self, path: str, content: Mapping[str, Any]) -> None:
        self._path = path
        self._content = content

    def policy(self) -> Policy:
        top = _Table(self._path, "", self._content)
        top.refuse_unknown(_KEYS)
        attribute_rules = self._attribute_rules(top)
        rules = Rules(
            exclude=self._rules("exclude", {"where"}, _exclude),
            boosts=self._rules("boost", {"where", "by"}, _boost) + self._rules("bury", {"where", "by"}, _bury),
            pins=self._rules("pin", {"item", "at"}, _pin),
            attribute_rules=attribute_rules,
            fallbacks=_fallbacks(top, attribute_rules),
            path=self._path,
        )
        min_score = top.number("min_score", low=-1, high=1, example="0.3")
        diversity = top.number("diversity", low=0, high=1, example="0.3")
        if diversity == 1:
            raise top.error("diversity", "is 1; use less, such as 0.3")
        return Policy(
            one_per=_one_per(top),
            min_score=min_score,
            diversity=diversity or 0.0,
            averaging=int(top.number("averaging", low=0, high=1000, example="10") or 0),
            rules=rules,
            learn=self._learn(top),
        )

    def _learn(self, top: _Table) -> Learn | None:
        if "learn" not in top.keys:
            return None
        table = _Table(self._path, "[learn]", top.table("learn"))
        bounds = {"most": 2, "interests": 2, "share": 1}
        table.refuse_unknown({*bounds, *_EXPLORING})
        numbers = {name: table.number(name, low=0, high=high, example="0.2") for name, high in bounds.items()}
        given = {name: number for name, number in numbers.items() if number is not None}
        return Learn(**given, exploration=_exploration(table))

    def _attribute_rules(self, top: _Table) -> tuple[AttributeRule, ...]:
        bounds = _Table(self._path, "[bounds]", top.table("bounds"))
        for name in set(top.texts("same")) & set(top.texts("differ")):
            raise top.error(
                "differ", f"names {name!r}, as does 'same', so that nothing is left; name it in one of them"
            )
        return (
            *map(Same, top.texts("same")),
            *map(Differ, top.texts("differ")),
            *(Bounds(name, *bounds.span(name)) for name in bounds.keys),
        )

    def _rules(self, kind: str, keys: set[str], make: Callable[[_Table], R]) -> tuple[R, ...]:
        entries = self._content.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            message = f"is not a list of tables; write [[{kind}]] above each"
            raise PolicyError(message, path=self._path, key=f"[[{kind}]]")
        rules = []
        for number, entry in enumerate(entries, 1):
            table = _Table(self._path, f"[[{kind}]] {number}", entry)
            table.refuse_unknown(keys | _CONDITION)
            rules.append(make(table))
        return tuple(rules)


class _Table:
    """One table of the file, called *place* in messages; each method returns a value, or raises PolicyError."""

    def __init__(self, path: str, place: str, content: Mapping[str, Any]) -> None:
        self.path = path
        self.place = place
        self._content = content

    @property
    def keys(self) -> Iterable[str]:
        return self._content

    def error(self, key: str, message: str) -> PolicyError:
        where = f"{self.place}, key {key!r}" if self.place else f"key {key!r}"
        return PolicyError(message, path=self.path, key=where)

    def refuse_unknown(self, known: set[str]) -> None:
        for key in self._content:
            if key not in known:
                near = difflib.get_close_matches(key, sorted(known), n=1)
                hint = f"did you mean {near[0]}?" if near else f"use {', '.join(sorted(known))}"
                raise self.error(key, f"means nothing here; {hint}")

    def value(self, key: str, example: str) -> Any:  # noqa: ANN401 - whatever the file holds
        if key not in self._content:
            raise self.error(key, f"is missing; write {key} = {example}")
        return self._content[key]

    def table(self, key: str) -> Mapping[str, Any]:
        value = self._content.get(key, {})
        if not isinstance(value, dict):
            raise PolicyError(f"is not a table; write [{key}] and a line for each", path=self.path, key=f"[{key}]")
        return value

    def text(self, key: str, example: str) -> str:
        value = self.value(key, example)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"is {_shown(value)}, not text; write {key} = {example}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self.error(key, f'is {_shown(value)}, not a list of names; write {key} = ["a", "b"]')
        return tuple(dict.fromkeys(value))

    def number(self, key: str, *, low: float, high: float, example: str) -> float | None:
        if key not in self._content:
            return None
        value = self._content[key]
        if not _is_number(value) or not low <= value <= high:
            raise self.error(key, f"is {_shown(value)}, not a number from {low} to {high}; write {key} = {example}")
        return float(value)

    def span(self, key: str) -> tuple[float, float]:
        value = self._content[key]
        if isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and 0 <= value[0] <= value[1]:  # noqa: PLR2004 - a pair
            return float(value[0]), float(value[1])
        raise self.error(key, f"is {_shown(value)}, not two numbers, the lower one first; write {key} = [0.5, 2]")

    def filter(self, key: str, example: str) -> Filter:
        try:
            return Filter.parse(self.text(key, example))
        except FilterError as error:
            raise self.error(key, str(error)) from error

    def condition(self) -> Condition:
        when = self.filter("when", "'category == \"mug\"'") if "when" in self._content else None
        return Condition(frozenset(map(normal_form, self.texts("for"))), when)

    def name(self, otherwise: str) -> str:
        return self.text("name", '"our own brand"') if "name" in self._content else otherwise


def _exclude(table: _Table) -> Exclude:
    return Exclude(table.filter("where", '"not in_stock"'), table.condition(), table.place)


def _boost(table: _Table) -> Boost:
    where = table.filter("where", "'brand == \"Own\"'")
    by = table.number("by", low=0, high=2, example="0.05")
    if by is None:
        raise table.error("by", "is missing; write by = 0.05, which is added to the score")
    return Boost(where, by, table.name(where.expression), table.condition(), table.place)


def _bury(table: _Table) -> Boost:
    boost = _boost(table)
    return replace(boost, score_delta=-boost.score_delta)


def _pin(table: _Table) -> Pin:
    item = table.text("item", '"mug-05"')
    at = table.value("at", "1")
    if not isinstance(at, int) or isinstance(at, bool) or at < 1:
        raise table.error("at", f"is {_shown(at)}, not a place; write at = 1 for the first")
    return Pin(normal_form(item), at, table.name(f"pin {item}"), table.condition(), table.place)


def _one_per(top: _Table) -> str | None:
    if "one_per" not in top.keys:
        return VARIANTS
    return None if top.value("one_per", "false") is False else top.text("one_per", f'"{VARIANTS}"')


def _fallbacks(top: _Table, attribute_rules: Iterable[AttributeRule]) -> tuple[str, ...]:
    known = [*(rule.name for rule in attribute_rules), *RELAXABLE]
    for name in top.texts("fallbacks"):
        if name not in known:
            raise top.error("fallbacks", f"names {name!r}, which cannot be relaxed; use {', '.join(known)}")
    return top.texts("fallbacks")


def _exploration(table: _Table) -> Exploration | None:
    explore = table.number("explore", low=0, high=MOST_EXPLORED, example="0.3")
    if explore is None:
        for key in _EXPLORING & set(table.keys):
            raise table.error(key, "means nothing without explore; write explore = 0.3")
        return None
    least = table.number("min_score", low=-1, high=1, example="0.3")
    places = table.value("places", "[2, 10]") if "places" in table.keys else None
    if places is None:
        return Exploration(explore, None, least)
    is_pair = isinstance(places, list) and len(places) == 2 and all(type(place) is int for place in places)  # noqa: PLR2004
    if not is_pair or not 1 <= places[0] <= places[1]:
        raise table.error("places", f"is {_shown(places)}, not the first and the last place; write places = [2, 10]")
    return Exploration(explore, (places[0], places[1]), least)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _shown(value: object) -> str:
    text = "true" if value is True else "false" if value is False else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - as much as a sentence takes
