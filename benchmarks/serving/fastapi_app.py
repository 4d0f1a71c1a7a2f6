"""The same search behind FastAPI, as its tutorial would write it: for the comparison with `visrec serve`.

The variable BENCHMARK_STORE names the store. A plain function runs in FastAPI's pool of threads.
"""

import os

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import vision_recs
from vision_recs.errors import UnknownItem

app = FastAPI()
recommender = vision_recs.open(os.environ["BENCHMARK_STORE"])


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
        found = recommender.similar(id, k=k)
    except UnknownItem as error:
        raise HTTPException(404, str(error)) from error
    return Similar(
        generation=recommender.items.generation,
        matches=[
            Match(rank=rank, id=each.id, score=each.score, image=each.image, attributes=dict(each.attributes))
            for rank, each in enumerate(found, 1)
        ],
    )
