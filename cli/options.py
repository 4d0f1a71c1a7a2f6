"""Options that several commands share."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypedDict

import typer

if TYPE_CHECKING:
    from vision_recs.store.partitions import Partition

STORE = Path(".visrec")
EVENTS = Path(".visrec-events")


class Precision(StrEnum):
    """The number format in which the encoder computes."""

    AUTO = "auto"
    BF16 = "bf16"
    F16 = "f16"
    F32 = "f32"


class Focus(StrEnum):
    """Where the encoder looks."""

    NONE = "none"
    ACTIVATIONS = "activations"
    GROUNDING = "grounding"


def new_file(path: Path | None) -> Path | None:
    """Return *path*, a file to be written at the end; raises BadParameter, before hours of work, where it cannot be."""
    if path is not None and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file in it")
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}; make it, or name another file")
    return path


def _folder(store: str | Path) -> Path:
    """Return the folder of *store*: of one in a bucket, the copy on this machine, pulled."""
    if "://" not in str(store):
        return Path(store)
    from vision_recs.store.bucket.mark import folder_of

    return folder_of(store)


def _new_folder(store: str | Path) -> Path:
    """Return the folder of *store*, which need not be there: of one in a bucket, the copy on this machine."""
    if "://" not in str(store):
        return Path(store)
    from vision_recs.store.bucket.copies import copy_of

    return copy_of(str(store))


_STORE_HELP = "The folder of the store, or its address in a bucket: s3://bucket/shop."
Store: TypeAlias = Annotated[
    Path, typer.Option("--store", envvar="VISREC_STORE", metavar="DIR", parser=_folder, help=_STORE_HELP)
]
NewStore: TypeAlias = Annotated[
    Path, typer.Option("--store", envvar="VISREC_STORE", metavar="DIR", parser=_new_folder, help=_STORE_HELP)
]
Stores: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="The folder of the store, or its address in a bucket (s3://bucket/shop); or the folder of the partitions "
        "of a catalog, or a file that lists stores. May be repeated: all stores answer as one. "
        "[env var: VISREC_STORE; default: .visrec]",
    ),
]
Engine: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--engine",
        envvar="VISREC_ENGINE",
        metavar="URI",
        help="Answer from an engine in place of the store: lance:DIR, milvus://HOST:PORT/DATABASE ...",
    ),
]
Events: TypeAlias = Annotated[
    Path, typer.Option("--events", envvar="VISREC_EVENTS", metavar="DIR", help="The folder of events.")
]
EventPairs: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--events",
        metavar="DIR",
        help="The clicks of this folder of events: pairs that are clicked more often than their places explain.",
    ),
]
Since: TypeAlias = Annotated[
    datetime | None,
    typer.Option("--since", metavar="DATE", formats=["%Y-%m-%d"], help="Only the days from this one on, in UTC."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Strict: TypeAlias = Annotated[bool, typer.Option("--strict", help="Fail at the end if something was skipped.")]
Catalog: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="CATALOG",
        help="A folder of images, a table (.csv, .tsv, .jsonl, .parquet), or an export of Shopify, WooCommerce, "
        "Magento, PrestaShop or Google Merchant Center. It may be in a bucket (s3://, gs://, az://), and a table or an "
        "export also on a web server. Images at web addresses are fetched.",
    ),
]
Encoder: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        envvar="VISREC_ENCODER",
        metavar="NAME",
        help="See `visrec encoders`; A+B@0.5 is both together, of which B counts half. [default: the encoder of the "
        "store, at first efficientnet-lite0]",
    ),
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="A checkpoint of the encoder (.pt, .pth, .safetensors), in place of the published one.",
    ),
]
FocusOption: TypeAlias = Annotated[
    Focus | None,
    typer.Option(
        "--focus",
        help="Where the encoder looks: at the whole image (none), also closer at the part that it responds to "
        "(activations), or at the product that a detector finds in each image of the catalog (grounding). "
        "[default: as before, or as the name in --encoder says; at first none]",
    ),
]
Detector: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="PLACE",
        help="For --focus grounding: a folder with a Grounding DINO, or its repository on huggingface.co. "
        "[default: as before]",
    ),
]
FocusAttribute: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--focus-attribute",
        metavar="NAME",
        help="For --focus grounding: the attribute whose words name the product. May be repeated: the first one that "
        "an item has. [default: category, product_type, title, name]",
    ),
]
Colors: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--colors/--no-colors",
        help="Name the colors that the images of an item show, in its attribute image_colors. Switching it on embeds "
        "the images again. [default: as before, at first no]",
    ),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device", envvar="VISREC_DEVICE", metavar="NAME", help="auto, cpu, cuda, cuda:N, cuda:0,cuda:1 ... or mps."
    ),
]
PrecisionOption: TypeAlias = Annotated[
    Precision, typer.Option("--precision", help="The number format in which the encoder computes.")
]
IdColumn: TypeAlias = Annotated[
    str | None,
    typer.Option("--id-column", metavar="NAME", help="The column of ids. [default: id, item_id, product_id, sku ...]"),
]
ImageColumn: TypeAlias = Annotated[
    str | None,
    typer.Option("--image-column", metavar="NAME", help="The column of images. [default: image, image_path, file ...]"),
]
ImageAttribute: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--image-attribute", metavar="NAME", help="A column that describes an image, not its item. May be repeated."
    ),
]
Format: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="What the catalog is: shopify, google, woocommerce, magento, prestashop, huggingface, or table for none "
        "of them. [default: as its columns tell]",
    ),
]
Images: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="The folder of the images of the catalog, also in a bucket. [default: that of the catalog]",
    ),
]
ImagesBelow: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--images-below",
        metavar="DIR",
        help="Skip images outside of this folder, which may be in a bucket, for a catalog that others write. "
        "[default: any file is read]",
    ),
]
OwnImages: TypeAlias = Annotated[
    bool,
    typer.Option("--own-images", help="The images at web addresses are yours: fetch them whatever robots.txt says."),
]
Pace: TypeAlias = Annotated[
    float,
    typer.Option("--pace", min=0.01, metavar="N", help="Begin at most N requests a second at one web server."),
]
AllowPrivateAddresses: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-private-addresses", help="Fetch images also from private networks, as http://10.0.0.5/mug.jpg."
    ),
]
KeepStale: TypeAlias = Annotated[
    int,
    typer.Option(
        "--keep-stale",
        min=0,
        metavar="N",
        help="An image that cannot be read at the moment keeps its vector for N runs.",
    ),
]
Partitions: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        min=1,
        max=4096,
        metavar="N",
        help="Split the catalog into N stores, below the folder of the store; the item ids say where an item goes. "
        "[default: as before]",
    ),
]
OnePartition: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--partition",
        metavar="I/N",
        help="Only this one of N partitions, from 0/N: each process of a cluster does another one.",
    ),
]
ItemPerFolder: TypeAlias = Annotated[
    bool, typer.Option("--item-per-folder", help="Each folder is one item with several images.")
]


class Split(TypedDict):
    """How a catalog is split: the options of `IndexOptions`."""

    partitions: int | None
    partition: Partition | None


def split(partitions: int | None, partition: str | None) -> Split:
    """Return how `--partitions` and `--partition` split a catalog; raises BadParameter."""
    from vision_recs.store.partitions import Partition

    try:
        chosen = None if partition is None else Partition.parse(partition)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--partition") from None
    if chosen is not None and partitions not in {None, chosen.count}:
        raise typer.BadParameter(f"is of {chosen.count}, but --partitions is {partitions}", param_hint="--partition")
    if chosen is not None and partitions is not None:
        raise typer.BadParameter("says how many there are; leave out --partitions", param_hint="--partition")
    return {"partitions": partitions, "partition": chosen}


def named_stores(stores: list[str] | None) -> str | list[str]:
    """Return what `--store` names, or the variable VISREC_STORE, which names one place."""
    import os

    named = stores or [os.environ.get("VISREC_STORE") or str(STORE)]
    return named[0] if len(named) == 1 else named


_TOO_LARGE = 1e9  # of any unit
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)


def size_of(text: str) -> int:
    """Return the bytes of *text*, a number with kB, MB, GB or TB (or KiB, ...); raises BadParameter."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or not 0 < float(found[1]) < _TOO_LARGE:
        raise typer.BadParameter(f"{text!r} is not a size; write 500MB or 4GB")
    step = 1024 if "i" in text.lower() else 1000
    return int(float(found[1]) * step ** " kmgt".index(found[2].lower() or " "))
