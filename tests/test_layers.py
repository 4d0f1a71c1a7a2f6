"""Imports point down only: cli -> vision_recs -> serve -> jobs ... -> indexes -> store -> catalog, images -> remote."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from visrec_cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
PUBLIC = "__init__"
"""The file `vision_recs/__init__.py`, which names what is public, from wherever that lives."""

LAYERS = [
    {"errors", "types", "filters", "metrics", "cache_dir", "file_formats", "ordered_map", "vectors", "threads"}
    | {"small_files", "scratch", "_version", "_lazy", "_native", "_openmp", "_torch"},
    {"remote"},
    {"catalog", "images"},
    {"store"},
    {"encoders", "indexes"},
    {"knn_join", "feedback", "engines"},
    {"recommend"},
    {"batch", "jobs", "evaluate", "tune"},
    {"serve"},
    {PUBLIC},
    {"cli"},
]
LIBRARIES = {
    "torch": {"_torch"},
    "torchvision": {"encoders"},
    "transformers": {"encoders"},
    "open_clip": {"encoders"},
    "timm": {"encoders"},
    "openvino": {"encoders"},
    "faiss": {"indexes"},
    "lancedb": {"engines"},
    "obstore": {"remote"},
    "ray": {"jobs"},
    "pymilvus": {"engines"},
    "milvus_lite": {"engines"},
    "granian": {"serve"},
    "starlette": {"serve"},
    "msgspec": {"feedback", "serve", "store"},
    "protego": {"remote"},
    "prometheus_client": {"serve"},
    "jinja2": {"cli"},
    "rich": {"cli"},
    "typer": {"cli"},
}
"""Libraries that only these rooms import."""

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FILES = [*sorted((ROOT / "vision_recs").rglob("*.py")), *sorted((ROOT / "cli").rglob("*.py"))]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    first, *rest = path.relative_to(ROOT).parts
    return "cli" if first == "cli" else rest[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that *tree* imports: of `from a import b` it is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(room: str, tree: ast.AST) -> list[str]:
    """Return the imports of a file in *room* that point up, sideways or to a library of other rooms."""
    return [name for name in imports(tree) if not _is_allowed(room, name)]


def _is_allowed(room: str, name: str) -> bool:
    top, *below = name.split(".")
    if top != "vision_recs":
        return room in LIBRARIES.get(top, {room})
    other = below[0] if below and below[0] in LEVEL else PUBLIC
    return other == room or LEVEL[other] < LEVEL[room] or LEVEL[room] == 0 == LEVEL[other]


def test_every_room_has_a_layer() -> None:
    assert {room_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=relative)
def test_the_docstring_of_a_package_is_its_map(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    modules = {other.stem for other in path.parent.glob("*.py")} - {"__init__"}
    packages = {other.parent.name for other in path.parent.glob("*/__init__.py")}
    if path.parent.name == "cli":
        modules -= set(COMMANDS)  # a file for each
    assert {name for name in modules | packages if name not in text} == set()


def test_imports_point_down_only() -> None:
    found = {relative(path): breaches(room_of(path), ast.parse(path.read_text("utf-8"))) for path in FILES}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("store", "from vision_recs.jobs import index"),
        ("store", "from vision_recs import indexes"),
        ("catalog", "import vision_recs.images"),
        ("jobs", "import vision_recs"),
        ("serve", "from vision_recs import Store"),
        ("recommend", "def f():\n    import torch"),
        ("recommend", "from torch import nn"),
        (PUBLIC, "from starlette.applications import Starlette"),
        ("types", "from vision_recs.store import Store"),
    ],
)
def test_an_import_that_points_elsewhere_is_found(room: str, code: str) -> None:
    assert breaches(room, ast.parse(code))


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("cli", "import vision_recs"),
        ("store", "from vision_recs import file_formats"),
        ("errors", "from vision_recs.types import Item"),
        (PUBLIC, "from vision_recs.serve import ServeOptions"),
        ("store", "from vision_recs.store.items import Items"),
    ],
)
def test_an_import_that_points_down_is_not(room: str, code: str) -> None:
    assert breaches(room, ast.parse(code)) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=relative)
def test_a_name_that_is_loaded_late_is_no_module(path: Path) -> None:
    """Whoever had imported the module before would get that, and not the function of the same name."""
    homes = [
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_HOMES"
    ]
    modules = {other.stem for other in path.parent.glob("*.py")} | {
        other.parent.name for other in path.parent.glob("*/*.py")
    }
    assert {name for home in homes for name in home} & modules == set()
