"""The tree of errors: what its page says is what there is, and nobody raises its root."""

import ast
import re
from pathlib import Path

import pytest

from vision_recs import errors

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "vision_recs").rglob("*.py")), *sorted((ROOT / "cli").rglob("*.py"))]


def raised_roots(tree):
    """Return the lines on which the root of the tree is raised: catch-alls say nothing to who handles them."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", getattr(node.exc.func, "attr", None)) == "VisionRecsError"
    ]


def test_nobody_raises_the_root():
    found = {str(path.relative_to(ROOT)): raised_roots(ast.parse(path.read_text("utf-8"))) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_raise_of_the_root_is_found():
    assert raised_roots(ast.parse("def f():\n    raise VisionRecsError('x') from None\n")) == [2]


def test_the_page_shows_the_tree():
    shown = re.findall(r"^([│ ]*)[├└]── (\w+)", errors.__doc__, re.MULTILINE)
    parents, parent_of = ["VisionRecsError"], {}
    for indent, name in shown:
        depth = len(indent) // 4 + 1
        parent_of[name] = parents[depth - 1]
        parents[depth:] = [name]
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert parent_of == {each.__name__: each.__base__.__name__ for each in classes if each.__base__ is not Exception}


@pytest.mark.parametrize(
    ("place", "remedy"),
    [("nowhere/table.csv", "make its folder"), ("file/table.csv", "name a place in a folder"), ("", "name a file")],
)
def test_what_cannot_be_written_says_what_helps(tmp_path, place, remedy):
    (tmp_path / "file").touch()
    path = tmp_path / place
    with pytest.raises(OSError, match="director") as raised:
        path.write_text("")
    assert str(errors.write_error(path, raised.value)).endswith(f"); {remedy}, then run again")
