"""The page of `visrec replay`: what another order would have brought, and whether the log can tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.feedback.replaying import ASSUMPTION
from vision_recs.feedback.value import FEWEST_ANSWERS, LEAST_SUPPORT

from .charts import NARROW, intervals
from .page import render

if TYPE_CHECKING:
    from vision_recs.feedback import Replayed


def write_page(path: Path, found: Replayed, *, of: str) -> None:
    """Write to *path* the page of what was *found*, which is *of* an order; a refused estimate has no values."""
    render(
        path,
        "replay.html",
        found=found,
        of=of,
        refusal=found.refusal,
        verdict=_verdict(found),
        p="below 0.0001" if found.difference.p < 0.0001 else f"{found.difference.p:.4f}",  # noqa: PLR2004 - 4 digits
        bars=intervals([("had", found.had), ("would have had", found.would)]),
        difference=intervals([("difference", found.difference)], sign="+"),
        needed=[
            ("answers of the other order that would say as much", f"{found.effective:,.0f}", f"{FEWEST_ANSWERS:,}"),
            (
                "share of it that the log could have shown",
                f"{100 * found.support:.1f} %",
                f"{100 * LEAST_SUPPORT:.0f} %",
            ),
        ],
        are_met=[found.effective >= FEWEST_ANSWERS, found.support >= LEAST_SUPPORT],
        assumption=ASSUMPTION,
        width=NARROW,
    )


def _verdict(found: Replayed) -> str:
    """Return what the bounds of the difference say."""
    if not found.difference.is_significant:
        return "0 is within the bounds of the difference: the log does not tell which order is better."
    than = "more" if found.difference.value > 0 else "fewer"
    share = abs(found.difference.value) / found.had.value if found.had.value else 0.0
    return f"It would have had {than} clicks, by {100 * share:.1f} %: 0 is outside of the bounds of the difference."
