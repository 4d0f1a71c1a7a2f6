"""A browser for tests: Debian's chromium, driven by playwright, which notes all that goes wrong in a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
_NO_WALL = "--disable-features=LocalNetworkAccessChecks"
"""A shop on the web may ask a server on the web; in tests the server is on this machine, which browsers protect."""

_WAIT_MS = 60_000  # a busy machine is slow


@contextmanager
def chromium() -> Iterator[object]:
    """Yield a browser; without one, tests are skipped, but not in CI."""
    path = shutil.which("chromium")
    if path is None and not os.environ.get("CI"):
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", _NO_WALL])
        yield browser
        browser.close()


class Visits:
    """Opens pages of a server, each in a context of its own; *wrong* is what went wrong, or came from elsewhere."""

    def __init__(self, browser, url):
        self._browser = browser
        self.url = url
        self.wrong = []
        self._contexts = []

    def __call__(self, address="/", url=None, ready=".results[aria-busy=false]", **options):
        """Open *address*, and return the page once it has *ready*."""
        from playwright.sync_api import expect

        url = url or self.url
        page = self.context(**options).new_page()
        page.set_default_timeout(_WAIT_MS)
        expect.set_options(timeout=_WAIT_MS)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self._note_origin(request.url, url))
        page.goto(url + address)
        page.locator(ready).first.wait_for()
        return page

    def context(self, **options):
        context = self._browser.new_context(
            **{"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options}
        )
        self._contexts.append(context)
        return context

    def close(self):
        for context in self._contexts:
            context.close()

    def _note_origin(self, requested, url):
        if not requested.startswith((url, self.url, "blob:", "data:")):
            self.wrong.append(requested)


def cards(page):
    """Return the ids of the items in the page, once they are there."""
    page.locator(".results[aria-busy=false]").wait_for()
    return [card.get_attribute("data-id") for card in page.locator(".card").all()]


def violations(page, rules=None):
    """Return what axe finds against WCAG 2.2 AA and its best practices, as rules with the elements that break them.

    Only the *rules* that are named are checked, or all.
    """
    from axe_playwright_python.sync_playwright import Axe

    only = {} if rules is None else {"runOnly": {"type": "rule", "values": rules}}
    found = Axe().run(page, options={"resultTypes": ["violations"], **only}).response["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
