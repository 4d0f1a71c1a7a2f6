"""`visrec similar`: similar items to items, images, words, a shopper's history, or all of them together."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from . import options
from .output import match_json, print_json, print_matches, print_query, query_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vision_recs.engines import EngineItems
    from vision_recs.filters import Filter
    from vision_recs.recommend import History, Policy, Recommender, Weighted
    from vision_recs.store import Store

Items = Annotated[
    list[str] | None, typer.Argument(metavar="ITEM...", help="One or several item ids; mug-07:2 counts twice.")
]
Image = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="An image file, of the catalog or not; mug.jpg:2 counts twice. May be repeated."),
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
Where = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR",
        help="Answer only with items that match, as in 'category == \"mug\" and price < 30 and in_stock'.",
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
RulesFile = Annotated[
    Path | None,
    typer.Option("--rules", metavar="FILE", help="The rules of the shop (TOML): exclude, boost, bury, pin, same ..."),
]
Explain = Annotated[bool, typer.Option("--explain", help="Print for each match why it is in the answer.")]


def similar(
    items: Items = None,
    image: Image = None,
    text: Text = None,
    negative: Negative = None,
    history: HistoryFile = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    where: Where = None,
    exclude: Excluded = None,
    one_per: OnePer = None,
    min_score: MinScore = None,
    diversity: Diversity = None,
    rules: RulesFile = None,
    explain: Explain = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page of images, too.")] = None,
    store: options.Store = options.STORE,
    engine: options.Engine = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Print the items that look most like all the given ones."""
    from vision_recs.recommend import Policy, Query, Weighted, read_image
    from vision_recs.recommend.query import NEGATIVE_WEIGHT

    if not (items or image or text or history):
        raise typer.BadParameter("name an item id, or an image with --image", param_hint="ITEM")
    policy = policy_of(rules, exclude or [], one_per, min_score, diversity)
    matching = filter_of(where)
    if engine is not None and html is not None:
        raise typer.BadParameter("needs the images, which an engine does not have", param_hint="--html")
    with open_items(store, engine, weights, device) as (opened, recommender):

        def is_known(item: str) -> bool:
            return bool(recommender.items.attributes_of([item]))

        try:
            images = [_weighted(file, lambda name: Path(name).exists()) for file in image or []]
            query = Query(
                items=tuple(_weighted(item, is_known) for item in items or []),
                images=tuple(Weighted(read_image(file), weight, file) for file, weight, _ in images),
                texts=tuple(text or []),
                negatives=tuple(_weighted(item, is_known, NEGATIVE_WEIGHT) for item in negative or []),
                history=None if history is None else _history(history, recommender),
                k=k,
                where=matching,
                explain=explain,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        matches = recommender.query(query, policy)
        parts = list(query_parts(query, recommender))
        if json:
            negatives = [f"not {item}" for item in negative or []]
            name = " ".join(
                [*(items or []), *(image or []), *(text or []), *([str(history)] if history else []), *negatives]
            )
            for rank, match in enumerate(matches, 1):
                print_json(match_json(name, rank, match))
        else:
            print_query(parts, recommender)
            print_matches(matches, filtered=where is not None or policy != Policy())
        note_unknown_values(opened, matching)
        if html is not None:
            from .html.similar_page import write_page

            write_page(html, cast("Store", opened), parts, matches)
            typer.echo(f"wrote {html}", err=True)


@contextmanager
def open_items(
    store: Path, engine: str | None, weights: Path | None, device: str
) -> Iterator[tuple[Store | EngineItems, Recommender]]:
    """Yield the items of the *engine*, or else of the *store*, and what answers queries from them."""
    from vision_recs.recommend import Recommender
    from vision_recs.store import Store

    if engine is None:
        with Store.open(store) as opened:
            yield opened, Recommender.of_store(opened, weights=weights, device=device)
        return
    from vision_recs.engines import open_engine

    with open_engine(engine) as published:
        yield published.items, Recommender(published.items, published.index, weights=weights, device=device)


def note_unknown_values(items: Store | EngineItems, *filters: Filter | None) -> None:
    """Tell on stderr which values that *filters* name no item has, and which are the nearest ones."""
    for matching in filters:
        for sentence in [] if matching is None else items.unknown_values(matching):
            typer.echo(f"note: {sentence}", err=True)


def filter_of(expression: str | None) -> Filter | None:
    """Return the filter of *expression*, which stands on the command line; raises FilterError."""
    if expression is None:
        return None
    from vision_recs.filters.filter import Filter

    return Filter.parse(expression)


def policy_of(
    rules: Path | None, exclude: list[str], one_per: str | None, min_score: float | None, diversity: float | None
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


def _history(file: Path, recommender: Recommender) -> History:
    """Return the history in *file*, and print on stderr how many of its items are not in the store."""
    from vision_recs.recommend import read_history

    history = read_history(file)
    items = {event.item for event in history.events}
    gone = len(items) - len(recommender.items.attributes_of(list(items)))
    if 0 < gone < len(items):
        typer.echo(f"{gone} of the {len(items)} items in {file} are not in the store and are left out", err=True)
    return history
