"""`visrec embed`: embed a catalog, without building an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .jobs import run_job


def embed(
    catalog: options.Catalog,
    store: options.NewStore = options.STORE,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the id, image and vector of every image as Parquet.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Images of a shard: the most that a crash can cost.")] = 4096,
    limit: Annotated[
        int | None, typer.Option(min=1, help="End after this many new images; run it again to continue.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="CLUSTER",
            help="Embed on the machines of a Ray cluster: ray, or ray://HOST:PORT. [default: on this machine]",
        ),
    ] = None,
    cpus_per_task: Annotated[int, typer.Option(min=1, metavar="N", help="Cores of a task on a cluster.")] = 1,
    gpus_per_task: Annotated[
        float,
        typer.Option(
            min=0, metavar="N", help="GPUs of a task on a cluster, as 1 or 0.25; machines without get tasks, too."
        ),
    ] = 0.0,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Try images again that could not be used before.")
    ] = False,
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
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Embed the images of a catalog, without building an index.

    Stop it at any time and run it again to continue: only new images are embedded.
    """
    from vision_recs.catalog import CatalogOptions
    from vision_recs.jobs import ClusterOptions, IndexOptions
    from vision_recs.jobs import embed as job
    from vision_recs.jobs import export as write
    from vision_recs.remote.options import RemoteOptions

    cluster = None
    if on is not None:
        try:
            cluster = ClusterOptions(on, cpus_per_task, gpus_per_task)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--on") from None
    chosen = IndexOptions(
        catalog=CatalogOptions(
            id_column,
            image_column,
            tuple(image_attribute or ()),
            item_per_folder,
            format,
            images or None,
            images_below or None,
            RemoteOptions(own_images=own_images, pace=pace, allow_private=allow_private_addresses),
        ),
        weights=weights,
        device=device,
        precision=precision.value,
        shard_size=shard_size,
        limit=limit,
        retry_skipped=retry_skipped,
        keep_stale=keep_stale,
        focus=None if focus is None else focus.value,
        detector=detector,
        focus_attributes=tuple(focus_attribute or ()),
        names_colors=colors,
        cluster=cluster,
        **options.split(partitions, partition),
    )
    report = run_job(job, catalog, store, encoder=encoder, options=chosen, json=json, quiet=quiet, strict=strict)
    if export is not None and report.generation:
        rows = write(store, export)
        if not quiet:
            typer.echo(f"wrote {rows:,} vectors to {export}", err=True)
