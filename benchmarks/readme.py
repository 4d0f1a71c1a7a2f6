"""Tables in README.md, which stand between markers that name the file of results they are made of."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parent / "README.md"


def put(name: str, content: str) -> None:
    """Put *content* between the markers of the results *name* into README.md, in place of what is there."""
    text = README.read_text("utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{README} has no place between {begin} and {end}; put both lines back")
    README.write_text(f"{before}{begin}\n{content}\n{end}{after}", "utf-8")
