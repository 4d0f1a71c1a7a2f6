"""The widget on the product page of a shop, which is another web site: what it shows, styles, tells and never keeps."""

import json
import re
import time

import pytest
from browsing import PHONE, violations

expect = pytest.importorskip("playwright.sync_api").expect

SHOP = "http://shop.test:8000"
PAGE = """<!doctype html><html lang="en"><title>Mug</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ --visrec-accent: rgb(1, 2, 3); --visrec-radius: 3px; }} .far {{ height: {far}px; }}</style>
<main><h1>Mug</h1><div class="far"></div>{widget}</main>"""
SCRIPT = (
    '<script src="{url}/page/widget.js" data-item="mug-01" data-k="6" data-heading="More mugs"'
    ' data-link="/p/{{id}}?from=similar" defer></script>'
)


@pytest.fixture
def shop(visit_demo):
    """Open a page of a shop at another origin, with *widget* in it."""

    def visit(widget, far=0, **options):
        page = visit_demo.tab(**options)
        html = PAGE.format(far=far, widget=widget.format(url=visit_demo.url))
        page.route(f"{SHOP}/**", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(f"{SHOP}/mug")
        return page

    return visit


def requests(visit, part):
    return [request for request in visit.requests if part in request.url]


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_a_script_tag_puts_similar_items_on_the_page_of_another_site(shop, options):
    page = shop(SCRIPT, **options)
    widget = page.locator("visrec-similar")
    expect(widget.locator("h2")).to_have_text("More mugs")
    links = widget.get_by_role("link")
    expect(links).to_have_count(6)
    expect(links.first).to_have_attribute("href", "/p/mug-04?from=similar")
    expect(links.first).to_contain_text("Speckled stoneware mug, terracotta€18.50€23.12")
    expect(links.first.locator("img")).to_have_js_property("naturalWidth", 320)
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    radius = "getComputedStyle(document.querySelector('visrec-similar').shadowRoot.querySelector('.card')).borderRadius"
    assert page.evaluate(radius) == "3px"
    if options:
        assert links.first.bounding_box()["width"] < 190
    assert violations(page) == []
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_it_asks_when_it_comes_near_the_window_and_tells_what_is_seen_and_clicked(shop, visit_demo, demo_server):
    page = shop(SCRIPT, far=5_000)
    widget = page.locator("visrec-similar")
    expect(widget.locator("h2")).to_have_text("More mugs")
    assert requests(visit_demo, "/v1/similar") == []
    height = widget.evaluate("element => element.clientHeight")
    page.evaluate("addEventListener('visrec-click', (event) => { window.clicked = event.detail; })")
    page.evaluate("addEventListener('click', (event) => event.preventDefault())")
    widget.scroll_into_view_if_needed()
    expect(widget.get_by_role("link")).to_have_count(6)
    assert abs(widget.evaluate("element => element.clientHeight") - height) < 40  # the place was kept
    with page.expect_request(
        lambda request: "/v1/events" in request.url and '"click"' in (request.post_data or "")
    ) as sent:
        widget.get_by_role("link").nth(1).click()
    answer = requests(visit_demo, "/v1/similar")[0].response().json()
    second = answer["matches"][1]["id"]
    click = json.loads(sent.value.post_data)["events"][-1]
    assert (click["type"], click["item"], click["place"], click["answer"]) == ("click", second, 2, answer["answer"])
    assert page.evaluate("window.clicked.item") == second
    sent = [json.loads(request.post_data)["events"] for request in requests(visit_demo, "/v1/events")]
    reported = [event for events in sent for event in events]
    assert ("shown", 1) in {(event["type"], event["place"]) for event in reported}
    assert_kept(demo_server, 'visrec_events_total{result="kept"}', len(reported))


def assert_kept(server, metric, least):
    import urllib.request

    end = time.monotonic() + 60
    while time.monotonic() < end:
        with urllib.request.urlopen(f"{server.url}/metrics") as response:
            found = re.search(rf"^{re.escape(metric)} (\d+)", response.read().decode(), re.MULTILINE)
        if found and int(found[1]) >= least:
            return
        time.sleep(0.1)
    raise AssertionError(f"{metric} is not {least}")


def test_a_web_component_follows_its_attributes_and_hides_itself_where_there_is_nothing(shop):
    page = shop(
        '<script src="{url}/page/widget.js"></script>'
        '<visrec-similar item="mug-01" k="2" where="price < 20"></visrec-similar>'
    )
    widget = page.locator("visrec-similar")
    expect(widget.get_by_role("link")).to_have_count(2)
    expect(widget.locator(".steps")).to_be_hidden()  # there is nothing to scroll to
    assert violations(page) == []
    page.evaluate("Object.assign(document.body.style, { background: '#111', color: '#eee' })")
    assert violations(page) == []  # the text and what lies behind it are both those of the page
    expect(widget.get_by_role("link").first).to_have_attribute("href", re.compile("https://shop.example/products/"))
    widget.evaluate("element => element.setAttribute('item', 'lamp-01')")
    expect(widget).to_contain_text("mug")
    failed = page.evaluate(
        """() => new Promise((resolve) => {
          addEventListener("visrec-error", (event) => resolve(event.detail.message));
          document.querySelector("visrec-similar").setAttribute("item", "nobody");
        })"""
    )
    assert "no item has the id 'nobody'" in failed
    expect(widget).to_be_hidden()


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_the_demo_page_shows_the_widget_and_leads_to_other_products(visit_demo, options):
    page = visit_demo("/page/product.html?item=mug-01", ready="visrec-similar a", **options)
    expect(page.locator("h1")).to_have_text("Striped mug, white and navy")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    page.locator("visrec-similar a").first.click()
    page.wait_for_url("**item=mug-04")
    expect(page.locator("h1")).to_have_text("Speckled stoneware mug, terracotta")
