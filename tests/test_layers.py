"""Imports point down only: cli -> serve -> jobs ... -> encoders, engines -> catalog, images, store -> errors, types."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"errors", "types", "filters", "metrics", "checksummed_json", "npy", "vectors", "_version", "_lazy", "_native"},
    {"catalog", "images", "store"},
    {"encoders", "indexes"},
    {"knn_join"},
    {"recommend"},
    {"batch", "jobs", "evaluate", "tune"},
    {"serve"},
    {"cli"},
]
HEAVY = {
    "torch": {"encoders", "knn_join"},
    "torchvision": {"encoders"},
    "open_clip": {"encoders"},
    "timm": {"encoders"},
    "openvino": {"encoders"},
    "faiss": {"indexes", "knn_join"},
}
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
FILES = [*sorted((ROOT / "vision_recs").rglob("*.py")), *sorted((ROOT / "cli").rglob("*.py"))]


def package_of(path: Path) -> str:
    first, *rest = path.relative_to(ROOT).parts
    return "cli" if first == "cli" else rest[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(package: str, tree: ast.AST) -> list[str]:
    """Return the imports of a file in *package* that point up, sideways or to a library that is not its own."""
    wrong = []
    for name in imports(tree):
        top, *below = name.split(".")
        if top == "vision_recs" and below and below[0] in LEVEL and below[0] != package:
            if LEVEL[below[0]] > LEVEL[package] or (LEVEL[below[0]] == LEVEL[package] and LEVEL[package] > 0):
                wrong.append(name)
        elif package not in HEAVY.get(top, {package}):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_only(path: Path) -> None:
    if path == ROOT / "vision_recs" / "__init__.py":
        return  # the public names, from wherever they live, loaded lazily
    assert breaches(package_of(path), ast.parse(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("store", "from vision_recs.jobs import index"),
        ("store", "from vision_recs import indexes"),
        ("catalog", "import vision_recs.images"),
        ("jobs", "def f():\n    import torch"),
        ("recommend", "from torch import nn"),
    ],
)
def test_an_import_that_points_elsewhere_is_found(package: str, code: str) -> None:
    assert breaches(package, ast.parse(code))
