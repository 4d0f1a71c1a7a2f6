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
def chromium() -> Iterator[Tabs]:
    """Yield the tabs of a browser; without one, tests are skipped, but not in CI."""
    path = shutil.which("chromium")
    if path is None and not os.environ.get("CI"):
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=_WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", _NO_WALL])
        yield Tabs(browser)
        browser.close()


class Tabs:
    """Tabs of a browser, which are used again: a new one, with a context of its own, takes as long as a test of it.

    One that is used again knows nothing of what was before, but files that the server lets it keep.
    """

    def __init__(self, browser):
        self._browser = browser
        self._idle = {}

    def take(self, color_scheme="light", **options):
        """Return an empty page of a browser with *options*."""
        kind = repr(sorted(options.items()))
        page = self._idle[kind].pop() if self._idle.get(kind) else self._new(kind, options)
        page.emulate_media(color_scheme=color_scheme)
        return page

    def _new(self, kind, options):
        context = self._browser.new_context(
            **{"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", **options}
        )
        page = context.new_page()
        page.set_default_timeout(_WAIT_MS)
        page.kind = kind
        return page

    def give_back(self, page):
        """Forget what is in *page*, so that another test can take it."""
        page.unroute_all()
        page.evaluate("if (location.host) [sessionStorage, localStorage].forEach((each) => each.clear())")
        page.mouse.move(0, 0)
        page.goto("about:blank")
        page.context.clear_cookies()
        self._idle.setdefault(page.kind, []).append(page)


class Visits:
    """Opens pages of a server, each in a tab of its own; *wrong* is what went wrong, or came from elsewhere.

    *requests* are those of all pages.
    """

    def __init__(self, tabs, url):
        self._tabs = tabs
        self.url = url
        self.wrong = []
        self.requests = []
        self._opened = []

    def __call__(self, address="/", url=None, ready=".results[aria-busy=false]", **options):
        """Open *address*, and return the page once it has *ready*."""
        url = url or self.url
        page = self.tab(**options)
        self._listen(page, "console", self._note_message)
        self._listen(page, "request", lambda request: self._note_origin(request.url, url))
        page.goto(url + address)
        page.locator(ready).first.wait_for()
        return page

    def tab(self, **options):
        """Return an empty page, whose errors are noted."""
        page = self._tabs.take(**options)
        self._opened.append((page, []))
        self._listen(page, "pageerror", lambda error: self.wrong.append(str(error)))
        self._listen(page, "request", lambda request: self.requests.append(request))  # noqa: PLW0108 - takes no builtin
        return page

    def close(self):
        for page, listeners in self._opened:
            for event, listener in listeners:
                page.remove_listener(event, listener)
            self._tabs.give_back(page)

    def _listen(self, page, event, listener):
        page.on(event, listener)
        self._opened[-1][1].append((event, listener))

    def _note_message(self, message):
        if message.type == "error":
            self.wrong.append(message.text)

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
