"""The same search behind FastAPI, as its tutorial would write it: what `visrec serve` is compared with.

The store is that of the variable BENCHMARK_STORE. A plain function runs in FastAPI's pool of threads.
"""

import os

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import vision_recs
from vision_recs.errors import UnknownItem

app = FastAPI()
shop = vision_recs.open(os.environ["BENCHMARK_STORE"])


class Match(BaseModel):
    """A similar item."""

    rank: int
    id: str
    score: float
    image: str
    attributes: dict[str, str | int | float | bool | None]


class Similar(BaseModel):
    """An answer."""

    generation: int
    matches: list[Match]


@app.get("/v1/similar")
def similar(id: str, k: int = 10) -> Similar:  # noqa: A002 - the name of the parameter
    """Return the items most like *id*."""
    try:
        found = shop.similar(id, k=k)
    except UnknownItem as error:
        raise HTTPException(404, str(error)) from error
    return Similar(
        generation=shop.items.generation,
        matches=[
            Match(rank=rank, id=each.id, score=each.score, image=each.image, attributes=dict(each.attributes))
            for rank, each in enumerate(found, 1)
        ],
    )
