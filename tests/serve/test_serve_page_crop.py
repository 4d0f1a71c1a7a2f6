"""The box on the page that says which part of an image is meant: by mouse, by touch and by keyboard."""

import pytest
from browsing import PHONE, cards
from PIL import Image

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture(scope="module")
def photo(sample_images, tmp_path_factory):
    """A photo of a lamp, and of a mug at its right."""
    both = Image.new("RGB", (768, 384), (240, 240, 240))
    for at, name in enumerate(("lamp-03-2.jpg", "mug-01-1.jpg")):
        both.paste(Image.open(sample_images / name).resize((384, 384)), (384 * at, 0))
    path = tmp_path_factory.mktemp("photo") / "both.jpg"
    both.save(path, quality=92)
    return path


def opened(visit, photo, **options):
    page = visit(**options)
    page.locator("#file").set_input_files(photo)
    expect(page.locator("#title")).to_have_text("Looks like your image")
    page.get_by_role("button", name="Choose a part of both.jpg").click()
    page.locator("#crop-box").wait_for()
    return page


def points(page, *shares):
    box = page.locator(".crop-stage").bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in shares]


def part_searched(page, search=None):
    """Search with the part, and return it: x, y, width and height."""
    with page.expect_response("**/v1/similar/image") as answer:
        (search or page.get_by_role("button", name="Search with this part").click)()
    assert answer.value.ok
    expect(page.locator("#crop")).not_to_be_visible()
    expect(page.locator(".chip .kind")).to_have_text("like a part")
    page.locator(".results[aria-busy=false]").wait_for()
    return [float(share) for share in page.evaluate("history.state.images[0].crop").split(",")]


def test_a_box_is_drawn_moved_and_sized_by_mouse(visit, client, photo):
    page = opened(visit, photo)
    drawn = points(page, (0.52, 0.05), (0.9, 0.9))
    page.mouse.move(*drawn[0])
    page.mouse.down()
    page.mouse.move(*drawn[1], steps=4)
    page.mouse.up()
    start, end = points(page, (0.7, 0.5), (0.75, 0.5))  # inside: it moves
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    start, end = points(page, (0.95, 0.9), (0.98, 0.98))  # a corner
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    sent = part_searched(page)
    assert sent == pytest.approx([0.57, 0.05, 0.41, 0.93], abs=0.03)
    shown = cards(page)
    text = ",".join(map(str, sent))
    asked = client.post(
        f"/v1/similar/image?k=24&crop={text}", content=photo.read_bytes(), headers={"content-type": "image/jpeg"}
    )
    assert shown[0] == asked.json()["matches"][0]["id"] == "mug-01"
    page.get_by_role("button", name="Choose a part of both.jpg").click()
    page.get_by_role("button", name="All of the image").click()
    expect(page.locator(".chip .kind")).to_have_text("like")


def test_a_box_is_drawn_by_touch(visit, photo):
    page = opened(visit, photo, **PHONE)
    session = page.context.new_cdp_session(page)
    (x, y), (to_x, to_y) = points(page, (0.52, 0.05), (0.97, 0.95))
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for part in (0.3, 0.6, 1.0):
        point = {"x": x + part * (to_x - x), "y": y + part * (to_y - y)}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert part_searched(page) == pytest.approx([0.52, 0.05, 0.45, 0.9], abs=0.03)
    assert cards(page)[0] == "mug-01"


def test_a_box_is_moved_and_sized_by_keyboard(visit, photo):
    page = opened(visit, photo)
    expect(page.locator("#crop-box")).to_be_focused()
    for _ in range(12):
        page.keyboard.press("Shift+ArrowLeft")  # .7 wide becomes .46
    for _ in range(40):
        page.keyboard.press("ArrowRight")  # to the edge, and no farther
    page.keyboard.press("ArrowUp")
    sent = part_searched(page, lambda: page.keyboard.press("Enter"))
    assert sent == pytest.approx([0.54, 0.13, 0.46, 0.7], abs=0.001)
    assert cards(page)[0] == "mug-01"
    expect(page.locator("#crop")).not_to_be_visible()
    page.go_back()
    expect(page.locator(".chip .kind")).to_have_text("like")
    page.go_forward()
    expect(page.locator(".chip .kind")).to_have_text("like a part")
