"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Index: TypeAlias = Annotated[
    Path, typer.Option("--index", envvar="VISREC_INDEX", metavar="DIR", help="The folder of the index.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="A checkpoint of the encoder (.pt, .pth, .safetensors) in place of its own."
    ),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option("--device", envvar="VISREC_DEVICE", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps."),
]

INDEX = Path(".visrec")
