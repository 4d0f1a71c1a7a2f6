"""How long the page of `visrec serve` takes in chromium, which comes anew, with an empty cache, each time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_SIZES = {"wide": (1280, 860), "phone": (390, 844)}
_REPEATED = 3
_QUIET_MS = 400  # without a request, after which nothing moves any more

# Chromium reports when an image is painted if it has the attribute before; times are those since the navigation.
_WATCH = """
window.watched = { images: [], shift: 0 };
const watch = (type, take) => new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
watch("element", ({ renderTime, intersectionRect }) => { if (intersectionRect.width) watched.images.push(renderTime); });
watch("layout-shift", ({ value, hadRecentInput }) => { if (!hadRecentInput) watched.shift += value; });
new MutationObserver((changes) => changes.flatMap((change) => [...change.addedNodes]).forEach((node) =>
  node.querySelectorAll?.(".image img:first-child").forEach((image) => image.setAttribute("elementtiming", "card"))
)).observe(document, { childList: true, subtree: true });
"""  # noqa: E501 - JavaScript
_READ = """() => {
  const [html] = performance.getEntriesByType("navigation"), asked = performance.getEntriesByType("resource");
  const facets = asked.filter((each) => each.name.includes("/v1/facets")).map((each) => each.duration);
  const painted = watched.images.map((time) => time - html.responseEnd);
  return { images: painted.length, first_image_ms: Math.min(...painted), all_images_ms: Math.max(...painted),
    facets_ms: Math.max(...facets), layout_shift: watched.shift };
}"""


def views_of(item: str) -> dict[str, str]:
    """Return the addresses of what is measured, by name."""
    return {
        "home": "/",
        "similar": f"/?like={item}",
        "search": "/?q=navy+mug",
        "filtered": "/?is.category=%22mug%22&range.price=20..80",
    }


def shown(url: str, views: Iterable[str]) -> set[str]:
    """Return the ids of the items that the page at *url* shows at the addresses *views*."""
    with _browser() as browser:
        return {item for view in views for item in _visit(browser, url + view, "wide", "cards")}


def measure(url: str, views: dict[str, str]) -> dict[str, Any]:
    """Return, for each of *views* of the page at *url*, what the first visit took, and the medians of later ones.

    Times are milliseconds since the HTML was there, or for facets, since they were asked for. Images are those in the
    window.
    """
    found: dict[str, Any] = {}
    with _browser() as browser:
        for size in _SIZES:
            for name, view in views.items():
                first, *later = (_visit(browser, url + view, size, "times") for _ in range(1 + _REPEATED))
                then = {key: round(median(each[key] for each in later), 4) for key in first}
                found[f"{name}, {size}"] = {"first": first, "then": then}
    return found


@contextmanager
def _browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def _visit(browser: Browser, address: str, size: str, what: str) -> Any:  # noqa: ANN401 - what it is asked for
    width, height = _SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.add_init_script(_WATCH)
    page.goto(address)
    page.locator(".results[aria-busy=false] .card").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(_QUIET_MS)
    found = (
        _times(page) if what == "times" else page.eval_on_selector_all(".card", "all => all.map((e) => e.dataset.id)")
    )
    context.close()
    return found


def _times(page: Page) -> dict[str, float]:
    found: dict[str, float] = page.evaluate(_READ)
    return {name: round(value, 4) for name, value in found.items()}
