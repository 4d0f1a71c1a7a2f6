"""python docs/generate.py: write reference/cli.md and reference/http.md out of the program; a test compares them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_NOTE = "<!-- Written by docs/generate.py; edit the program instead. -->"


def command_line() -> str:
    """Return the page of every command, as its `--help` describes it."""
    overview = _help()
    commands = [line.split()[0] for line in overview.partition("Commands:\n")[2].splitlines()]
    parts = [f"# Command line\n\n{_NOTE}\n\n```text\n{overview}```\n", _EXIT_STATUS]
    parts += [f"## visrec {command}\n\n```text\n{_help(command)}```\n" for command in commands]
    return "\n".join(parts)


def http() -> str:
    """Return the page of every address of `visrec serve`, out of its OpenAPI document."""
    from vision_recs.serve.app import ROUTES
    from vision_recs.serve.openapi import openapi_document

    document = json.loads(openapi_document(ROUTES))
    lines = ["# HTTP", "", _NOTE, "", _HTTP_INTRODUCTION]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += ["", f"## {method.upper()} {path}", "", *_operation(operation)]
    lines += ["", "## Objects"]
    for name, schema in document["components"]["schemas"].items():
        lines += ["", f"### {name}", "", *_object(schema)]
    lines += ["", "## Status codes", "", "| status | means |", "| --- | --- |"]
    lines += [f"| {status} | {each['description']} |" for status, each in document["components"]["responses"].items()]
    return "\n".join(lines) + "\n"


_EXIT_STATUS = """\
The exit status is 0 when the command is done, 1 for an error, which is one sentence on stderr, 2 for a wrong option,
and 130 after Ctrl-C. With `--json`, stdout holds JSON and nothing else: one object, or one object on each line.
Options can be set by [environment variables](environment.md), too.
"""

_HTTP_INTRODUCTION = """\
`visrec serve` describes itself at `/openapi.json`; this page has the same content. How to run the server is in the
[guide](../guides/serving.md). An error is an object of the type `application/problem+json` (RFC 9457), a
[Problem](#problem)."""


def _help(*command: str) -> str:
    program = Path(sys.executable).parent / "visrec"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISREC_")}
    done = subprocess.run(  # noqa: S603 - our own program
        [program, *command, "--help"], env={**environment, "COLUMNS": "100"}, capture_output=True, text=True, check=True
    )
    return done.stdout


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"{operation['summary']}."
    if "description" in operation:
        yield from ("", operation["description"])
    if "parameters" in operation:
        yield from ("", "| parameter | in | type | |", "| --- | --- | --- | --- |")
        for each in operation["parameters"]:
            name = f"**{each['name']}**" if each["required"] else each["name"]
            text = each.get("description") or each["schema"].get("description", "")
            yield f"| {name} | {each['in']} | {_cell(_type(each['schema']))} | {_cell(text)} |"
    if "requestBody" in operation:
        bodies = operation["requestBody"]["content"].items()
        yield from ("", "Body: " + ", or ".join(f"`{kind}` {_type(body['schema'])}" for kind, body in bodies) + ".")
    yield ""
    for status, response in operation["responses"].items():
        for kind, content in response.get("content", {}).items():
            yield f"Answers {status} with {_type(content['schema']) if 'schema' in content else ''} `{kind}`."
    errors = [status for status, response in operation["responses"].items() if "$ref" in response]
    yield f"Errors: {', '.join(errors)}."


def _object(schema: Mapping[str, Any]) -> Iterator[str]:
    if "description" in schema:
        yield from (cleandoc(schema["description"]), "")
    if "properties" not in schema:
        yield f"A {_type(schema)}."
        return
    yield from ("| field | type | |", "| --- | --- | --- |")
    for name, field in schema["properties"].items():
        shown = f"**{name}**" if name in schema.get("required", ()) else name
        yield f"| {shown} | {_cell(_type(field))} | {_cell(_description(field))} |"


def _description(field: Mapping[str, Any]) -> str:
    own = field.get("description")
    return own or next((each["description"] for each in field.get("anyOf", ()) if "description" in each), "")


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    return _container(schema) or schema.get("type", "any value") + _bounds(schema)


def _container(schema: Mapping[str, Any]) -> str:
    """Return the type of a list or an object whose members have a type, and "" for all other types."""
    if "prefixItems" in schema:
        return f"[{', '.join(map(_type, schema['prefixItems']))}]"
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return ""


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "maxLength": "at most {} characters",
        "default": "default",
    }
    bounds = []
    for name, word in words.items():
        if schema.get(name) is not None and schema[name] not in ([], {}):
            value = json.dumps(schema[name])
            bounds.append(word.format(value) if "{}" in word else f"{word} {value}")
    return f" ({', '.join(bounds)})" if bounds else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    (HERE / "reference" / "cli.md").write_text(command_line(), encoding="utf-8")
    (HERE / "reference" / "http.md").write_text(http(), encoding="utf-8")
