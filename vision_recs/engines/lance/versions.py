"""`tidy`: which versions of a table stay, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lancedb.table import Table as Opened

_READ_FOR = timedelta(hours=1)
"""How long a version is left that nobody has to keep: readers may have opened it just before."""

_NEVER = timedelta(days=36_500)

_A_MOMENT = timedelta(minutes=1)
"""What may pass between asking for the time and removing by age."""


def tidy(table: Opened) -> None:
    """Join what was written to *table* in small parts, extend its indexes, and remove its older versions.

    Versions with a tag stay, and what was written last, for so long as somebody may read it. LanceDB removes by age
    only, and refuses where a version with a tag is older; so what is younger than the oldest of these stays, too.
    """
    table.optimize(cleanup_older_than=_NEVER)
    tagged = {each["version"] for each in table.tags.list().values()}
    made = [each["timestamp"].astimezone(UTC) for each in table.list_versions() if each["version"] in tagged]
    age = max([_READ_FOR, *(datetime.now(UTC) - each for each in made)])
    table.optimize(cleanup_older_than=age + _A_MOMENT)
