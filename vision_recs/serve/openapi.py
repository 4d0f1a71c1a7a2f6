"""The OpenAPI 3.1 document, made of the routes: its schemas are the structs that the handlers take and return."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from vision_recs._version import __version__
from vision_recs.serve.errors import MEDIA_TYPE, STATUSES
from vision_recs.serve.routing import Route
from vision_recs.serve.schemas import MAX_IMAGES, EventsBody, Problem, QueryBody, UpdateBody

_REF = "#/components/schemas/{name}"
_COMMON_ERRORS = (400, 401, 405, 421, 429, 500, 503)


def openapi_document(routes: Sequence[Route]) -> bytes:
    """Return the OpenAPI document of *routes* as JSON."""
    structs = [QueryBody, UpdateBody, EventsBody, Problem, *_structs(routes)]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(re.sub(r":\w+}", "}", route.path), {})[route.method.lower()] = _operation(route, schemas)
    parameters = {route.parameters.__name__ for route in routes}
    value = {
        "openapi": "3.1.0",
        "info": {
            "title": "visrec",
            "version": __version__,
            "summary": "Visually similar items of a catalog.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],  # where this document is, whatever a proxy puts before it
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in schemas.items() if name not in parameters},
            "responses": {str(status): _problem(text) for status, text in STATUSES.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=1)


def _structs(routes: Iterable[Route]) -> list[type[msgspec.Struct]]:
    every = [each for route in routes for each in (route.parameters, route.body, route.response)]
    return [each for each in every if isinstance(each, type) and issubclass(each, msgspec.Struct)]


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    text = cleandoc(route.handler.__doc__ or "").split("\n\n", 1)
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    if len(text) > 1:
        operation["description"] = text[1].replace("\n", " ")
    parameters = list(_parameters(route, schemas[route.parameters.__name__]))
    if parameters:
        operation["parameters"] = parameters
    body = _body(route)
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    operation["responses"] = _responses(route)
    return operation


def _parameters(route: Route, schema: dict[str, Any]) -> Iterable[dict[str, Any]]:
    required = schema.get("required", ())
    for name, own in schema.get("properties", {}).items():
        in_path = f"{{{name}" in route.path
        parameter = {
            "name": name,
            "in": "path" if in_path else "query",
            "required": name in required,
            "schema": _without_null({key: value for key, value in own.items() if key != "description"}),
        }
        if "description" in own:
            parameter["description"] = own["description"]
        yield parameter


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* without null: a URL cannot say null, it leaves the parameter out."""
    schema = {name: value for name, value in schema.items() if name != "default" or value is not None}
    if "anyOf" not in schema:
        return schema
    kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def _body(route: Route) -> dict[str, Any]:
    if route.body is not None:
        return {"application/json": {"schema": _ref(route.body)}}
    if "text/plain" in route.upload_types:
        return {kind: {"schema": _ref(EventsBody)} for kind in route.upload_types}
    return {kind: {"schema": _upload(kind)} for kind in route.upload_types}


def _upload(kind: str) -> dict[str, Any]:
    if kind == "application/json":
        return _ref(UpdateBody)
    if kind == "application/x-ndjson":
        return {"type": "string", "description": "A change on each line."}
    if kind != "multipart/form-data":
        return {"type": "string", "format": "binary"}
    return {
        "type": "object",
        "properties": {
            "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": MAX_IMAGES},
            "crop": {
                "type": "array",
                "items": {"type": "string", "description": "x,y,width,height, for each image; empty: all of it."},
                "maxItems": MAX_IMAGES,
            },
            "query": {"type": "string", "contentMediaType": "application/json", "contentSchema": _ref(QueryBody)},
        },
        "additionalProperties": False,
    }


def _responses(route: Route) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "The answer."}
    is_struct = isinstance(route.response, type) and issubclass(route.response, msgspec.Struct)
    if is_struct:
        done["content"] = {"application/json": {"schema": _ref(route.response)}}
    elif route.status == 200:  # noqa: PLR2004
        done["content"] = {route.media_type: {}}
    responses: dict[str, Any] = {str(route.status): done}
    if route.cacheable:
        done["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "Names the generation of the store."}}
        responses["304"] = {"description": "The answer has not changed: If-None-Match holds its ETag."}
    for status in sorted({*_COMMON_ERRORS, *route.errors}):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return responses


def _ref(struct: Any) -> dict[str, str]:  # noqa: ANN401 - a struct
    return {"$ref": _REF.format(name=struct.__name__)}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": _ref(Problem)}}}
