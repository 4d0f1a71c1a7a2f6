"""The same endpoint in several frameworks: ten similar items as JSON, from one answer that is always the same.

GET /v1/items/{id}/similar?k=10. What is measured is what a framework and a server add to a search.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

MATCHES = [
    {
        "rank": rank,
        "id": f"item{rank * 7919:08d}",
        "score": round(0.97 - rank / 50, 6),
        "image": f"{rank * 7919}-front.jpg",
        "attributes": {
            "title": "Speckled stoneware mug, terracotta",
            "category": "mug",
            "color": "terracotta",
            "material": "stoneware",
            "style": "scandinavian",
            "price": 18.5,
            "currency": "EUR",
            "in_stock": True,
        },
    }
    for rank in range(1, 11)
]


class Similar(msgspec.Struct):
    """A match."""

    rank: int
    id: str
    score: float
    image: str
    attributes: dict[str, str | int | float | bool | None]


class Answer(msgspec.Struct):
    """The similar items."""

    generation: int
    matches: list[Similar]


def _answer() -> Answer:
    return Answer(7, [Similar(**match) for match in MATCHES])


def _validate(item: str, k: int) -> None:
    if not item or k < 1:
        raise ValueError(f"{item!r}, {k}")


def fastapi_app() -> Any:  # noqa: ANN401
    """FastAPI as in its tutorial: a plain function, a response model."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Match(BaseModel):
        rank: int
        id: str
        score: float
        image: str
        attributes: dict[str, str | int | float | bool | None]

    class Result(BaseModel):
        generation: int
        matches: list[Match]

    app = FastAPI()

    @app.get("/v1/items/{item}/similar")
    async def similar(item: str, k: int = 10) -> Result:  # noqa: ARG001
        return Result(generation=7, matches=[Match(**match) for match in MATCHES])

    return app


def fastapi_bytes_app() -> Any:  # noqa: ANN401
    """FastAPI, with a response encoded by msgspec."""
    from fastapi import FastAPI, Response

    app = FastAPI()
    encode = msgspec.json.Encoder().encode

    @app.get("/v1/items/{item}/similar", response_class=Response)
    async def similar(item: str, k: int = 10) -> Response:  # noqa: ARG001
        return Response(encode(_answer()), media_type="application/json")

    return app


def litestar_app() -> Any:  # noqa: ANN401
    """Litestar with msgspec structs."""
    from litestar import Litestar, get

    @get("/v1/items/{item:str}/similar")
    async def similar(item: str, k: int = 10) -> Answer:  # noqa: ARG001
        return _answer()

    return Litestar([similar])


def _starlette(encode: Any) -> Any:  # noqa: ANN401
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def similar(request: Request) -> Response:
        _validate(request.path_params["item"], int(request.query_params.get("k", "10")))
        return Response(encode(), media_type="application/json")

    return Starlette(routes=[Route("/v1/items/{item}/similar", similar)])


def starlette_msgspec_app() -> Any:  # noqa: ANN401
    """Starlette, encoded by msgspec."""
    encode = msgspec.json.Encoder().encode
    return _starlette(lambda: encode(_answer()))


def starlette_orjson_app() -> Any:  # noqa: ANN401
    """Starlette, encoded by orjson."""
    import orjson

    @dataclass(slots=True)
    class Match:
        rank: int
        id: str
        score: float
        image: str
        attributes: dict[str, Any]

    return _starlette(lambda: orjson.dumps({"generation": 7, "matches": [Match(**match) for match in MATCHES]}))


def asgi_app() -> Any:  # noqa: ANN401
    """No framework, encoded by msgspec."""
    encode = msgspec.json.Encoder().encode

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        _, _, _, item, _ = scope["path"].split("/")
        _validate(item, 10)
        body = encode(_answer())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
