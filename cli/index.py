"""`visrec index`: embed a catalog and build its index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .jobs import run_job


def index(
    catalog: options.Catalog,
    store: options.NewStore = options.STORE,
    encoder: options.Encoder = None,
    weights: options.Weights = None,
    focus: options.FocusOption = None,
    detector: options.Detector = None,
    focus_attribute: options.FocusAttribute = None,
    colors: options.Colors = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    id_column: options.IdColumn = None,
    image_column: options.ImageColumn = None,
    image_attribute: options.ImageAttribute = None,
    item_per_folder: options.ItemPerFolder = False,
    format: options.Format = None,  # noqa: A002 - the name of the option
    images: options.Images = None,
    images_below: options.ImagesBelow = None,
    own_images: options.OwnImages = False,
    pace: options.Pace = 50.0,
    allow_private_addresses: options.AllowPrivateAddresses = False,
    keep_stale: options.KeepStale = 30,
    partitions: options.Partitions = None,
    partition: options.OnePartition = None,
    strict: options.Strict = False,
    index_type: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="auto, flat, hnsw, ivf-pq, or a factory string of FAISS, as faiss:IVF256,Flat. "
            "[default: as before, at first auto]",
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The most memory that the index may take, as 4GB. [default: as before]"),
    ] = None,
    target_recall: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=1.0,
            help="The share of the 10 nearest images that the index has to find. [default: as before, at first 0.95]",
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Index a catalog of products and their images.

    Run it again after changes: only new images are embedded.
    """
    from vision_recs.catalog import CatalogOptions
    from vision_recs.jobs import IndexOptions
    from vision_recs.jobs import index as job
    from vision_recs.remote.options import RemoteOptions

    columns = CatalogOptions(
        id_column,
        image_column,
        tuple(image_attribute or ()),
        item_per_folder,
        format,
        images or None,
        images_below or None,
        RemoteOptions(own_images=own_images, pace=pace, allow_private=allow_private_addresses),
    )
    chosen = IndexOptions(
        catalog=columns,
        weights=weights,
        device=device,
        precision=precision.value,
        index_type=index_type,
        max_memory=None if max_memory is None else options.size_of(max_memory),
        target_recall=target_recall,
        keep_stale=keep_stale,
        focus=None if focus is None else focus.value,
        detector=detector,
        focus_attributes=tuple(focus_attribute or ()),
        names_colors=colors,
        **options.split(partitions, partition),
    )
    run_job(job, catalog, store, encoder=encoder, options=chosen, json=json, quiet=quiet, strict=strict)
    if not json:
        _hint_at_table(catalog)


def _hint_at_table(catalog: str) -> None:
    table = next(
        (Path(catalog) / name for name in ("catalog.csv", "catalog.parquet") if (Path(catalog) / name).is_file()), None
    )
    if table:
        typer.echo(f"each image became an item; for the items and attributes of {table}, run visrec index {table}")
