"""The page, as a person uses it: in Debian's chromium, driven by playwright."""

import base64
import re

import pytest
from browsing import cards

expect = pytest.importorskip("playwright.sync_api").expect


def answer(client, **parameters):
    return [match["id"] for match in client.get("/v1/similar", params={"k": 24, **parameters}).json()["matches"]]


def open_card(page, item):
    page.locator(f".card[data-id='{item}'] .open").click()
    page.wait_for_url("**like=*")
    expect(page.locator("#title")).to_contain_text("Looks like")


def test_from_the_catalog_to_similar_items_and_back(visit, client):
    page = visit()
    first = cards(page)
    assert first == [item["id"] for item in client.get("/v1/items", params={"limit": 48}).json()["items"]]
    expect(page.locator("#subtitle")).to_have_text("60 items")
    open_card(page, "bowl-02")
    assert cards(page) == answer(client, id="bowl-02")
    expect(page.locator("#title")).to_have_text("Looks like Noodle bowl, white with a blue band")
    assert page.url.endswith("/?like=bowl-02")
    page.go_back()
    expect(page.locator("#title")).to_have_text("The catalog")
    assert cards(page) == first
    page.go_forward()
    expect(page.locator("#title")).to_contain_text("Noodle bowl")


def test_a_url_can_be_shared(visit, client):
    page = visit(
        "/?like=mug-01&like=vase-02&negative=lamp-05&diversity=0.5&is.category=%22mug%22&is.category=%22bowl%22&range.price=10..50"
    )
    where = '`category` in ["mug", "bowl"] and 10 <= `price` <= 50'
    expected = answer(client, id=["mug-01", "vase-02"], negative="lamp-05", diversity=0.5, where=where)
    assert cards(page) == expected
    assert len(expected) == 3
    expect(page.locator(".chip .name").first).to_have_text("Striped mug, white and navy")
    expect(page.locator(".chip.dislike .kind")).to_have_text("less like")
    expect(page.locator("#diversity")).to_have_value("0.5")
    assert page.get_by_role("checkbox", name="mug 5").is_checked()


def test_the_search_finds_items_while_words_are_typed(visit):
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("stri mug")
    expect(page.locator(".card")).to_have_count(3)
    assert set(cards(page)) == {"mug-01", "mug-02", "mug-03"}
    assert page.url.endswith("/?q=stri+mug")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_contain_text("Looks like Striped mug")
    page.go_back()
    page.go_back()
    expect(page.locator("#title")).to_have_text("The catalog")
    expect(page.locator("#search")).to_have_value("")


def test_likes_and_dislikes_make_up_the_query(visit, client):
    page = visit("/?like=mug-01")
    chosen = cards(page)[2]
    page.locator(f".card[data-id='{chosen}']").hover()
    page.locator(f".card[data-id='{chosen}'] [aria-label='Less like this']").click()
    expect(page.locator(".chip")).to_have_count(2)
    assert cards(page) == answer(client, id="mug-01", negative=chosen)
    other = cards(page)[1]
    page.locator(f".card[data-id='{other}'] .open").focus()
    page.keyboard.press("+")
    expect(page.locator(".chip")).to_have_count(3)
    assert cards(page) == answer(client, id=["mug-01", other], negative=chosen)
    expect(page.locator(".card .open").nth(1)).to_be_focused()
    page.locator(".chip button").first.click()
    expect(page.locator(".chip")).to_have_count(2)
    assert cards(page) == answer(client, id=other, negative=chosen)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#title")).to_have_text("The catalog")


def test_filters_and_ranges_apply_to_the_items(visit, client):
    page = visit("/?like=mug-01")
    page.locator("fieldset:has(legend:text-is('category')) .option:has-text('bowl') input").check()
    expect(page.locator(".filter-chip")).to_have_text("bowl")
    assert cards(page) == answer(client, id="mug-01", where='`category` in ["bowl"]')
    slider = page.get_by_label("price to", exact=True)
    slider.fill("9")  # of forty
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    page.wait_for_url("**range.price=*")
    shown = client.get("/v1/items", params={"where": 'category == "bowl"', "limit": 50}).json()["items"]
    prices = {item["id"]: item["attributes"]["price"] for item in shown}
    expect(slider).to_be_focused()
    expect(slider).to_have_value("1")
    top = float(page.url.split("..")[1])
    assert set(cards(page)) <= {item for item, price in prices.items() if price <= top}


def test_the_slider_sets_the_diversity(visit, client):
    page = visit("/?like=mug-01")
    page.locator("#diversity").fill("0.6")
    page.wait_for_url("**diversity=0.6")
    assert cards(page) == answer(client, id="mug-01", diversity=0.6) != answer(client, id="mug-01")


def assert_alike(shown, expected):
    """Compare answers to an image that two processes encoded: bfloat16 may turn the order of what is about as near."""
    assert shown[:3] == expected[:3]
    assert len(shown) == len(expected)
    assert len(set(shown) & set(expected)) >= len(expected) - 3


def test_an_image_is_chosen_dropped_or_pasted(visit, client, sample_images):
    data = (sample_images / "lamp-03-2.jpg").read_bytes()
    expected = client.post("/v1/similar/image?k=24", content=data, headers={"content-type": "image/jpeg"})
    expected = [match["id"] for match in expected.json()["matches"]]
    page = visit()
    page.locator("#file").set_input_files(sample_images / "lamp-03-2.jpg")
    expect(page.locator("#title")).to_have_text("Looks like your image")
    assert_alike(cards(page), expected)
    expect(page.locator(".chip .name")).to_have_text("lamp-03-2.jpg")
    page.reload()
    expect(page.locator("#title")).to_have_text("Looks like your image")
    assert_alike(cards(page), expected)
    page.locator(".card .open").first.click()
    page.wait_for_url("**like=*")
    page.go_back()
    expect(page.locator("#title")).to_have_text("Looks like your image")
    expect(page.locator(".chip .name")).to_have_text("lamp-03-2.jpg")
    assert_alike(cards(page), expected)
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.locator("#notice")).to_contain_text("1 image of this search is no longer here")
    expect(page.locator("#title")).to_have_text("The catalog")
    page.locator("#file").set_input_files(sample_images / "lamp-03-2.jpg")
    expect(page.locator("#notice")).to_be_hidden()
    for kind, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.get_by_role("button", name="Start over").click()
        expect(page.locator("#title")).to_have_text("The catalog")
        page.evaluate(
            """([kind, field, text]) => {
              const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              const data = new DataTransfer();
              data.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
              const event = kind === "drop" ? new DragEvent(kind, { dataTransfer: data, cancelable: true })
                : new ClipboardEvent(kind, { clipboardData: data });
              window.dispatchEvent(event);
            }""",
            [kind, field, base64.b64encode(data).decode()],
        )
        expect(page.locator("#title")).to_have_text("Looks like your image")
        assert_alike(cards(page), expected)


def test_an_explanation_shows_both_images(visit):
    page = visit("/?like=mug-01")
    page.locator(".card .score").first.click()
    dialog = page.locator("#details")
    expect(dialog.locator("h2")).to_have_text("Speckled stoneware mug, terracotta")
    expect(dialog.locator(".cosine")).to_have_text("0.68")
    expect(dialog.locator(".term img")).to_have_count(2)
    expect(dialog.locator("dd.shared").first).to_have_text("mug")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_keyboard_is_enough(visit):
    page = visit("/?like=mug-01")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card .open").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("getComputedStyle(document.querySelector('#grid')).gridTemplateColumns.split(' ').length")
    expect(page.locator(".card .open").nth(columns)).to_be_focused()
    page.keyboard.press("i")
    expect(page.locator("#details")).to_be_visible()


def test_the_page_follows_the_color_scheme_of_the_browser(visit):
    for scheme, is_dark in (("light", False), ("dark", True)):
        page = visit("/", color_scheme=scheme)
        channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(channels) < 60) is is_dark


def test_an_error_is_shown_in_the_page(visit):
    page = visit("/?like=mug-1")
    expect(page.locator("#notice")).to_contain_text("No item has the id 'mug-1'; the nearest are")
    assert all("404" in text for text in visit.wrong)
    visit.wrong.clear()


def test_markup_in_an_attribute_is_shown_as_text(visit):
    evil = "<img src=x onerror=alert(1)>"
    page = visit("/")
    thumbnail = page.evaluate("async () => (await (await fetch('v1/items?limit=1')).json()).items[0].thumbnail")
    attributes = {"title": f"{evil}<script>alert(1)</script>", "color": evil, evil: evil, "variant_group": evil}
    item = {"id": evil, "attributes": attributes, "thumbnail": thumbnail}
    counted = {"name": evil, "kind": "text", "items": 3, "counts": [[evil, 2], ["plain", 1]]}
    answers = {
        "items?": {"total": 1, "items": [item], "next_offset": None},
        "item?": {**item, "images": [{"image": evil, "thumbnail": thumbnail, "attributes": {"view": evil}}] * 2},
        "facets?": {"total": 1, "facets": [counted]},
    }
    for route, answer in answers.items():
        address = re.compile(re.escape(f"/v1/{route}"))
        page.route(address, lambda route, _, sent=answer: route.fulfill(json=sent))
    page.locator("#search").fill(evil)
    expect(page.locator(".card .name").first).to_have_text(f"{evil}<script>alert(1)</script>")
    expect(page.locator("#title")).to_have_text(f"“{evil}”")
    page.locator(".option").filter(has_text=evil).locator("input").check()
    expect(page.locator(".filter-chip")).to_have_text(evil)
    page.locator(".card").hover()
    page.locator(".card [aria-label='Details']").click()
    expect(page.locator("#details dd").filter(has_text=evil).first).to_be_visible()
    assert page.locator("[onerror]").count() == 0
