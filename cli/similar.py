"""`visrec similar`: similar items to items, images, words, a shopper's history, or all of them together."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from . import options
from .output import match_json, print_json, print_matches, print_query, query_parts
from .terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vision_recs.engines import EngineItems
    from vision_recs.filters import Filter
    from vision_recs.recommend import History, Policy, Recommender, Weighted
    from vision_recs.recommend.personal import Deeds
    from vision_recs.recommend.stores import OpenedStores
    from vision_recs.store import Store

Items = Annotated[
    list[str] | None, typer.Argument(metavar="ITEM...", help="One or several item ids; mug-07:2 counts twice.")
]
Image = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="An image file, of the catalog or not; mug.jpg:2 counts twice. May be repeated."),
]
Cropped = Annotated[
    list[str] | None,
    typer.Option(
        "--crop",
        metavar="X,Y,W,H",
        help="The part of the image that is meant, as shares of its width and height: 0.25,0.1,0.5,0.6. May be "
        "repeated: for each --image in its order, or for one image, of which all parts are meant.",
    ),
]
Apart = Annotated[
    bool,
    typer.Option(
        "--apart",
        help="Each --image, or each --crop of it, is a wish of its own, as the objects of one picture: each gets its "
        "share of the answer.",
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="What it looks like, for an encoder that reads text (clip). May be repeated."),
]
Negative = Annotated[
    list[str] | None,
    typer.Option(
        "--negative",
        metavar="ITEM",
        help="An item to move away from; vase-02:1 counts as much as ITEM. May be repeated.",
    ),
]
HistoryFile = Annotated[
    Path | None,
    typer.Option(
        "--history",
        metavar="FILE",
        help='What a shopper looked at: a line {"id": "mug-01", "time": "2026-05-01T12:00Z"} each.',
    ),
]
Shopper = Annotated[
    str | None,
    typer.Option(
        "--shopper",
        metavar="NAME",
        help="A shopper of the log of events: what they looked at counts as --history, and what they bought is not "
        "shown.",
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR",
        help="Answer only with items that match, as in 'category == \"mug\" and price < 30 and in_stock'.",
    ),
]
Color = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Answer only with items whose images show this color, as navy; needs an index made with --colors. May be "
        "repeated: all of them.",
    ),
]
OnePer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Show one item for each value of this attribute; 'item' shows all variants. [default: variant_group]",
    ),
]
Excluded = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="ITEM", help="An item not to answer with. May be repeated.")
]
MinScore = Annotated[float | None, typer.Option(metavar="NUMBER", help="Leave out items of a lower score.")]
Diversity = Annotated[
    float | None,
    typer.Option(
        metavar="X", help="How much an item loses for being like those before it: 0 to below 1, for example 0.3."
    ),
]
Averaging = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Rank candidates by their vectors averaged with N that are most like them, for example 10: better where "
        "many items are of one kind, worse where few are.",
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option("--rules", metavar="FILE", help="The rules of the shop (TOML): exclude, boost, bury, pin, same ..."),
]
Explain = Annotated[bool, typer.Option("--explain", help="Print for each match why it is in the answer.")]


def similar(
    items: Items = None,
    image: Image = None,
    crop: Cropped = None,
    apart: Apart = False,
    text: Text = None,
    negative: Negative = None,
    history: HistoryFile = None,
    shopper: Shopper = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    where: Where = None,
    color: Color = None,
    exclude: Excluded = None,
    one_per: OnePer = None,
    min_score: MinScore = None,
    diversity: Diversity = None,
    averaging: Averaging = None,
    rules: RulesFile = None,
    explain: Explain = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=options.new_file, help="Write a page of images, too.")
    ] = None,
    store: options.Stores = None,
    engine: options.Engine = None,
    events: options.Events = options.EVENTS,
    weights: options.Weights = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Print the items that look most like all the given ones."""
    from vision_recs.recommend import Policy, Query, read_image
    from vision_recs.recommend.query import NEGATIVE_WEIGHT

    _require_terms(bool(items or image or text or history or shopper), history, shopper)
    policy = policy_of(rules, exclude or [], one_per, min_score, diversity, averaging)
    matching = filter_of(where, color)
    deeds = None if shopper is None else _deeds(shopper, events)
    if deeds is not None:
        policy = replace(policy, exclude=policy.exclude | deeds.never)
    if engine is not None and html is not None:
        raise typer.BadParameter("needs the images, which an engine does not have", param_hint="--html")
    with open_items(options.named_stores(store), engine, weights, device) as (opened, recommender):

        def is_known(item: str) -> bool:
            return bool(recommender.items.attributes_of([item]))

        _print_unknown(exclude or [], recommender)
        of_shopper = None if deeds is None else _known(deeds.history, recommender)
        if not (items or image or text or history or of_shopper):
            _print_liked(shopper or "", events, recommender, (k, matching, policy), json=json)
            return
        try:
            images = [_weighted(file, lambda name: Path(name).exists()) for file in image or []]
            parts_meant = _cropped(images, crop or [])
            query = Query(
                items=tuple(_weighted(item, is_known) for item in items or []),
                images=tuple(_read(part, read_image) for part in parts_meant),
                texts=tuple(text or []),
                negatives=tuple(_weighted(item, is_known, NEGATIVE_WEIGHT) for item in negative or []),
                history=of_shopper if history is None else _history(history, recommender),
                k=k,
                where=matching,
                explain=explain,
                apart=apart,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        matches = recommender.query(query, policy)
        parts = list(query_parts(query, recommender))
        if json:
            negatives = [f"not {item}" for item in negative or []]
            histories = [str(each) for each in (history, shopper) if each is not None]
            name = " ".join([*(items or []), *(image or []), *(text or []), *histories, *negatives])
            for rank, match in enumerate(matches, 1):
                print_json(match_json(name, rank, match))
        else:
            print_query(parts, recommender)
            print_matches(matches, filtered=matching is not None or policy != Policy())
        note_unknown_values(opened, matching)
        if html is not None:
            from .html.similar_page import write_page

            write_page(html, cast("Store | OpenedStores", opened), parts, matches)
            typer.echo(f"wrote {html}", err=True)


@contextmanager
def open_items(
    store: str | list[str], engine: str | None, weights: Path | None, device: str
) -> Iterator[tuple[Store | OpenedStores | EngineItems, Recommender]]:
    """Yield the items of the *engine*, or else of the *store* or stores, and what answers queries from them."""
    from vision_recs.recommend import Recommender, open_stores

    if engine is None:
        with open_stores(store) as opened:
            yield opened, Recommender.of_stores(opened, weights=weights, device=device)
        return
    from vision_recs.engines import open_engine

    with open_engine(engine) as published:
        if isinstance(store, str):
            published.items.learn_from(store)
        yield published.items, Recommender(published.items, published.index, weights=weights, device=device)


def note_unknown_values(items: Store | OpenedStores | EngineItems, *filters: Filter | None) -> None:
    """Tell on stderr which values that *filters* name no item has, and which are the nearest ones."""
    for matching in filters:
        for sentence in [] if matching is None else items.unknown_values(matching):
            typer.echo(f"note: {sentence}", err=True)


def filter_of(expression: str | None, colors: list[str] | None = None) -> Filter | None:
    """Return the filter of *expression* and *colors*, which stand on the command line; raises FilterError."""
    found = None
    if expression is not None:
        from vision_recs.filters.filter import Filter

        found = Filter.parse(expression)
    if colors:
        from vision_recs.recommend.colors import shows_colors

        shown = shows_colors(colors)
        found = found if shown is None else shown & found
    return found


def policy_of(
    rules: Path | None,
    exclude: list[str],
    one_per: str | None,
    min_score: float | None,
    diversity: float | None,
    averaging: int | None,
) -> Policy:
    """Return the policy of the file *rules*; each option of the command line overrides the file."""
    from vision_recs.recommend import EVERY_ITEM, Policy

    policy = Policy()
    if rules is not None:
        from vision_recs.recommend import read_policy

        policy = read_policy(rules)
    if one_per is not None:
        policy = replace(policy, one_per=None if one_per == EVERY_ITEM else one_per)
    return replace(
        policy,
        exclude=policy.exclude.union(exclude),
        min_score=policy.min_score if min_score is None else min_score,
        diversity=policy.diversity if diversity is None else diversity,
        averaging=policy.averaging if averaging is None else averaging,
    )


def _weighted(argument: str, is_known: Callable[[str], bool], weight: float = 1.0) -> Weighted[str]:
    """Return *argument* with its weight: mug-07:2 is mug-07 with the weight 2, unless an item of that name is known."""
    from vision_recs.recommend import Weighted
    from vision_recs.types import normal_form

    argument = normal_form(argument)
    name, _, number = argument.rpartition(":")
    if name and not is_known(argument):
        try:
            return Weighted(name, float(number), name)
        except ValueError:
            pass  # the whole argument is the name
    return Weighted(argument, weight, argument)


def _cropped(images: list[Weighted[str]], crops: list[str]) -> list[Weighted[str]]:
    """Return *images* with their *crops*: one for each, or all for the only one; raises ValueError."""
    from vision_recs.images.crop import Crop

    if crops and len(images) != 1 and len(crops) != len(images):
        raise ValueError(f"there are {len(crops)} --crop for {len(images)} --image; give one for each image")
    if len(images) == 1 and crops:
        images = images * len(crops)
    parsed = [Crop.parse(text) for text in crops] + [None] * (len(images) - len(crops))
    return [image._replace(crop=crop) for image, crop in zip(images, parsed, strict=True)]


def _read(part: Weighted[str], read_image: Callable[[str], bytes]) -> Weighted[bytes]:
    from vision_recs.recommend import Weighted

    return Weighted(read_image(part.value), part.weight, part.value, part.crop)


def _require_terms(has_any: bool, history: Path | None, shopper: str | None) -> None:
    if not has_any:
        raise typer.BadParameter("name an item id, or an image with --image", param_hint="ITEM")
    if history is not None and shopper is not None:
        raise typer.BadParameter("cannot be combined with --history", param_hint="--shopper")


def _deeds(shopper: str, events: Path) -> Deeds:
    """Return what the folder *events* says of *shopper*."""
    from vision_recs.feedback import Histories
    from vision_recs.recommend.personal import deeds_of

    return deeds_of(Histories.read(events).of_name(shopper))


def _known(history: History | None, recommender: Recommender) -> History | None:
    """Return *history*, if one of its items is known."""
    if history is None or not recommender.items.attributes_of([event.item for event in history.events]):
        return None
    return history


def _print_liked(
    shopper: str, events: Path, recommender: Recommender, asked: tuple[int, Filter | None, Policy], *, json: bool
) -> None:
    """Print what shoppers like, for one of whom nothing is known."""
    from vision_recs.recommend.segments import liked_by_shop

    k, where, policy = asked
    matches = liked_by_shop(recommender, events, k=k, where=where, policy=policy)
    if json:
        for rank, match in enumerate(matches, 1):
            print_json(match_json(shopper, rank, match))
        return
    typer.echo(f"note: nothing is known of {one_line(shopper)}: this is what the shop's segments like", err=True)
    print_matches(matches, filtered=True)


def _print_unknown(excluded: list[str], recommender: Recommender) -> None:
    """Print on stderr which of the *excluded* items are not in the store: one of them may be misspelt."""
    from vision_recs.types import normal_form

    items = list(dict.fromkeys(map(normal_form, excluded)))
    known = recommender.items.attributes_of(items) if items else {}
    for item in items:
        if item not in known:
            typer.echo(one_line(f"note: the store has no item {item!r}, which --exclude names"), err=True)


def _history(file: Path, recommender: Recommender) -> History:
    """Return the history in *file*, and print on stderr how many of its items are not in the store."""
    from vision_recs.recommend import read_history

    history = read_history(file)
    items = {event.item for event in history.events}
    gone = len(items) - len(recommender.items.attributes_of(list(items)))
    if 0 < gone < len(items):
        typer.echo(f"{gone} of the {len(items)} items in {file} are not in the store and are left out", err=True)
    return history
