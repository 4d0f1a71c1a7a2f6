"""Make the pictures of the pages in the manual: `PYTHONPATH=tests/support python docs/screenshots.py --store STORE`.

STORE is that of `visrec index sample_images/catalog.csv`. It is copied, and the copy gets what a shop has beside it:
brands, sales, addresses. Each picture shows a page wide and on a phone, light and dark. Needs chromium, playwright.
The pages of reports are about shoppers who like what is cheap.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from browsing import PHONE, Visits, chromium
from demo_shop import demo_store
from logged_shop import make_store, write_log
from PIL import Image

from vision_recs.feedback import compact

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).parent / "images"
_WIDE = {"viewport": {"width": 1280, "height": 860}}
_GAP, _PAPER = 18, "#d9dcd8"

Action: TypeAlias = Callable[["Page"], None]


def _nothing(page: Page) -> None:
    """Leave the page as it opens."""


def _details(page: Page) -> None:
    page.locator(".card[data-id='mug-05'] .score").click()
    page.locator("#details .stage img").wait_for()


def _sheet(page: Page) -> None:
    if page.locator("#filters-open").is_visible():
        page.locator("#filters-open").click()
        page.locator("#sheet[open]").wait_for()


def _widget(page: Page) -> None:
    page.locator("visrec-similar").evaluate("(widget) => widget.scrollIntoView({ block: 'end' })")


PICTURES: dict[str, tuple[str, Action]] = {
    "home": ("/", _nothing),
    "search": ("/?q=lamp", _nothing),
    "similar": ("/?like=bowl-02", _nothing),
    "details": ("/?like=bowl-02", _details),
    "filters": ("/?is.category=%22mug%22&is.category=%22bowl%22&range.price=14..30", _sheet),
    "nothing": ("/?q=stripped+mgu", _nothing),
    "product": ("/page/product.html?item=mug-04", _widget),
}
REPORTS: dict[str, list[str]] = {"replay": ["replay", "--rules", "new.toml"]}
"""The command that writes each report."""

_RULES = "one_per = false\n[[boost]]\nwhere = 'price < 30'\nby = 0.001\n"


def main() -> None:
    """Make the pictures that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--target", type=Path, default=IMAGES)
    parser.add_argument("--scale", type=float, default=0.62, help="of what a screen shows: enough to read the titles")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*PICTURES, *REPORTS]))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, _served(arguments.store, Path(folder)) as url:
        visit = Visits(browser, url)
        for name in arguments.names or [*PICTURES, *REPORTS]:
            is_report = name in REPORTS
            shown = _report(browser, REPORTS[name], Path(folder)) if is_report else _picture(visit, *PICTURES[name])
            size = round(shown.width * arguments.scale), round(shown.height * arguments.scale)
            smaller = shown.resize(size, Image.Resampling.LANCZOS)
            target = arguments.target / f"{'report' if is_report else 'page'}-{name}.jpg"
            smaller.save(target, quality=82, optimize=True)
        visit.close()
    if visit.wrong:
        sys.exit("\n".join(visit.wrong))


@contextmanager
def _served(samples: Path, folder: Path) -> Iterator[str]:
    """Serve what the store *samples* becomes in *folder*, and yield the address."""
    store = demo_store(samples, folder / "store")
    program = Path(sys.executable).parent / "visrec"
    command = [program, "serve", "--store", store, "--events", folder / "events", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        assert process.stdout is not None  # noqa: S101 - a pipe was requested
        yield process.stdout.readline().split()[2]
        process.terminate()


def _picture(visit: Visits, address: str, act: Action) -> Image.Image:
    """Return the page at *address* after *act*: wide and on a phone, light above dark."""
    return _together(
        [[_shot(visit, address, act, scheme, size) for size in (_WIDE, PHONE)] for scheme in ("light", "dark")]
    )


def _report(browser: Browser, command: list[str], folder: Path) -> Image.Image:
    """Return the page that *command* writes of a log, made in *folder*: wide and on a phone, light above dark."""
    make_store(folder / "shop")
    write_log(folder / "shop", folder / "log", 6_000)
    compact(folder / "log")
    (folder / "new.toml").write_text(_RULES, encoding="utf-8")
    program = Path(sys.executable).parent / "visrec"
    place = ["--store", "shop", "--events", "log", "--html", "report.html"]
    subprocess.run([program, *command, *place], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    shots: list[list[Image.Image]] = []
    for scheme in ("light", "dark"):
        shots.append([])
        for size in (_WIDE, PHONE):
            page = browser.new_page(color_scheme=scheme, **size)
            page.goto((folder / "report.html").as_uri())
            shots[-1].append(_as_high(Image.open(io.BytesIO(page.screenshot()))))
            page.close()
    return _together(shots)


def _together(shots: list[list[Image.Image]]) -> Image.Image:
    """Return *shots* as one picture, row by row."""
    width = sum(shot.width for shot in shots[0]) + 3 * _GAP
    paper = Image.new("RGB", (width, sum(row[0].height for row in shots) + 3 * _GAP), _PAPER)
    for number, row in enumerate(shots):
        top = _GAP + number * (row[0].height + _GAP)
        paper.paste(row[0], (_GAP, top))
        paper.paste(row[1], (2 * _GAP + row[0].width, top))
    return paper


def _shot(visit: Visits, address: str, act: Action, scheme: str, size: dict[str, Any]) -> Image.Image:
    is_page = not address.startswith("/page/")
    ready = ".results[aria-busy=false]" if is_page else "visrec-similar:not([hidden])"
    page = visit(address, ready=ready, color_scheme=scheme, **size)
    page.wait_for_load_state("networkidle")
    act(page)
    page.wait_for_load_state("networkidle")
    shot = Image.open(io.BytesIO(page.screenshot()))
    page.context.close()
    return _as_high(shot)


def _as_high(shot: Image.Image) -> Image.Image:
    """Return *shot* as high as a wide one."""
    height = _WIDE["viewport"]["height"]
    return shot.convert("RGB").resize((round(shot.width * height / shot.height), height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
