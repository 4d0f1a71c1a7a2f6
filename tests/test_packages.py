"""What is installed: every package, every name that is public, and its types."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from loaded_modules import loaded_modules

import vision_recs

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def folders_with_code(folder: str) -> set[str]:
    return {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in (ROOT / folder).rglob("*.py")}


"""Whether the checkout is installed in place: no type checker sees such a package by itself."""


def test_every_package_is_installed():
    own = {name.replace("cli", "visrec_cli", 1) for name in folders_with_code("cli")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders_with_code("vision_recs") | own


def test_every_public_name_is_there_and_typed():
    """The names for type checkers, those that are loaded when they are used, and `__all__` are the same."""
    tree = ast.parse((ROOT / "vision_recs" / "__init__.py").read_text("utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = [alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(typed) == sorted(vision_recs.__all__)
    for name in vision_recs.__all__:
        assert getattr(vision_recs, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'vision_recs' has no attribute 'recomend'"):
        _ = vision_recs.recomend


@pytest.mark.parametrize("package", sorted(folders_with_code("vision_recs") - {"vision_recs"}))
def test_every_name_of_a_package_is_there(package):
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None


def test_every_dependency_has_a_reason_and_a_tested_version():
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    project = PROJECT["project"]
    pins = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8").lower(), re.MULTILINE))
    for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
        (line,) = [line for line in lines if f'"{requirement}"' in line]
        assert "# " in line
        (name,) = re.findall(r"^[\w.-]+", requirement)
        assert name in {each.replace("_", "-") for each in pins}


def test_the_lowest_versions_are_those_that_are_allowed():
    """`make test-lowest` installs what is in constraints-lowest.txt."""
    lowest = re.findall(r"^[\w.-]+==[\d.]+$", (ROOT / "constraints-lowest.txt").read_text("utf-8"), re.MULTILINE)
    bounds = [re.findall(r"^([\w.-]+)[>=]=([\d.]+)", each)[0] for each in PROJECT["project"]["dependencies"]]
    assert lowest == [f"{name}=={version}" for name, version in bounds]


def test_every_python_that_is_named_is_allowed():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"


def test_a_query_by_id_loads_no_library_of_clusters_or_buckets(sample_store):
    loaded = {name.partition(".")[0] for name in loaded_modules("similar", "mug-01", "--store", sample_store)}
    assert "vision_recs" in loaded
    assert loaded & {"ray", "obstore", "torch"} == set()
