"""`visrec similar`: similar items to item ids or to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import vision_recs

from . import options
from .render import describe, match_json, print_json, print_matches


def similar(
    items: Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="One or several item ids.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture that need not be in the index.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="EXPR",
            help="Answer only with items that match, as in 'category == \"mug\" and price < 30 and in_stock'.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page of pictures, too.")] = None,
    store: options.Index = options.INDEX,
    weights: options.Weights = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Print the items that look most like all the given ones together."""
    from vision_recs.recommend import Query, open_recommender, read_picture

    asked = items or []
    if not asked and image is None:
        raise typer.BadParameter("name an item id, or a picture with --image", param_hint="ITEM")
    matching = None if where is None else vision_recs.Filter.parse(where)
    recommender = open_recommender(store, weights=weights, device=device)
    pictures = () if image is None else (read_picture(image),)
    matches = recommender.answer(Query(items=tuple(asked), pictures=pictures, k=k, where=matching))
    name = " ".join([*asked, *([str(image)] if image else [])])
    if json:
        for rank, match in enumerate(matches, 1):
            print_json(match_json(name, rank, match))
    else:
        for item in asked:
            typer.echo(f"{item}  {describe(recommender.store.attributes(item))}".rstrip())
        print_matches(matches, filtered=where is not None)
    if html is not None:
        from .page import write_page

        write_page(html, recommender.store, asked, image, matches)
        typer.echo(f"wrote {html}", err=True)
