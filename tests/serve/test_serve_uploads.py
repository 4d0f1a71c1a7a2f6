"""Bodies of requests, read without a server: media types, exact limits, and forms part by part."""

import asyncio

import pytest
from starlette.requests import Request

from vision_recs.errors import RequestError
from vision_recs.serve.options import Limits
from vision_recs.serve.schemas import MAX_IMAGES
from vision_recs.serve.uploads import Bodies, read_images

LIMITS = Limits(max_json_bytes=100, max_image_bytes=5_000)
IMAGE = ("image", "a.png", b"one")


def request_of(body, kind, **headers):
    """Return a request whose *body* comes in two parts; *read* counts the parts that were asked for."""
    parts = [body[:3], body[3:]]
    read = []

    async def receive():
        read.append(parts[len(read)])
        return {"type": "http.request", "body": read[-1], "more_body": len(read) < len(parts)}

    named = {"content-type": kind, **headers}
    scope = {
        "type": "http",
        "client": ("192.0.2.1", 1),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
    }
    return Request(scope, receive), read


def json_of(body, kind="application/json", **headers):
    request, read = request_of(body, kind, **headers)
    return asyncio.run(Bodies(LIMITS).json(request)), read


def images_of(body, kind):
    async def run():
        request, _ = request_of(body, kind)
        with await Bodies(LIMITS).images(request) as file:
            return await read_images(request, file, LIMITS)

    return asyncio.run(run())


def form(*parts):
    """Return the form with *parts*: (field, file name or None, data)."""
    lines = []
    for field, name, data in parts:
        file = "" if name is None else f'; filename="{name}"'
        lines += [b"--x", f'content-disposition: form-data; name="{field}"{file}'.encode(), b"", data]
    return b"\r\n".join([*lines, b"--x--", b""])


def form_of(*parts):
    return images_of(form(*parts), "multipart/form-data; boundary=x")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/x+json", ""])
def test_json_has_a_media_type_of_json_or_none(kind):
    assert json_of(b'{"items": []}', kind)[0] == b'{"items": []}'


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", "multipart/form-data"])
def test_other_media_types_are_no_json(kind):
    with pytest.raises(RequestError, match=f"the media type '{kind}' is not supported here") as caught:
        json_of(b"{}", kind)
    assert caught.value.status == 415


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", ""])
def test_an_image_is_the_whole_body(kind):
    (image,) = images_of(b"bytes", kind).images
    assert (image.value, image.weight, image.name) == (b"bytes", 1.0, "image")


def test_text_is_no_image():
    with pytest.raises(RequestError, match="the media type 'text/html' is not supported here") as caught:
        images_of(b"bytes", "text/html")
    assert caught.value.status == 415


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_has_at_most_so_many_bytes(announced):
    whole = b"x" * 100
    assert json_of(whole, **({"content_length": "100"} if announced else {}))[0] == whole
    with pytest.raises(RequestError, match="the body has more than 100 bytes") as caught:
        json_of(whole + b"x", **({"content_length": "101"} if announced else {}))
    assert caught.value.status == 413


@pytest.mark.parametrize("length", ["101", "9" * 19, "9" * 5_000])
def test_a_body_that_announces_too_much_is_not_read(length):
    request, read = request_of(b"{}", "application/json", content_length=length)
    with pytest.raises(RequestError, match="the body has more than 100 bytes"):
        asyncio.run(Bodies(LIMITS).json(request))
    assert read == []


def test_a_form_has_images_by_their_names_and_a_query():
    upload = form_of(IMAGE, ("image", "", b"two"), ("query", None, b'{"k": 3}'))
    assert [(image.name, image.value, image.weight) for image in upload.images] == [
        ("a.png", b"one", 1.0),
        ("image 2", b"two", 1.0),
    ]
    assert upload.query == '{"k": 3}'
    assert form_of(IMAGE).query is None


def test_a_form_has_at_most_eight_images_a_crop_for_each_and_four_texts():
    assert len(form_of(*[IMAGE] * MAX_IMAGES).images) == MAX_IMAGES == 8
    with pytest.raises(RequestError, match=r"the form is not valid \(Too many files"):
        form_of(*[IMAGE] * (MAX_IMAGES + 1))
    query = ("query", None, b"{}")
    assert form_of(IMAGE, *[query] * 12).query == "{}"
    with pytest.raises(RequestError, match=r"the form is not valid \(Too many fields"):
        form_of(IMAGE, *[query] * 13)


def test_a_text_of_a_form_is_as_long_as_json_may_be():
    assert form_of(IMAGE, ("query", None, b"x" * 100)).query == "x" * 100
    with pytest.raises(RequestError, match="the form is not valid"):
        form_of(IMAGE, ("query", None, b"x" * 101))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([("image", None, b"text")], "the field 'image' holds text; send a file"),
        ([IMAGE, ("query", "q.json", b"{}")], "the field 'query' holds a file; send JSON as text"),
        (
            [IMAGE, ("picture", "b.png", b"two")],
            "the form has an unknown field 'picture'; use 'image', 'crop' and 'query'",
        ),
    ],
)
def test_a_form_of_other_parts_is_one_sentence(parts, sentence):
    with pytest.raises(RequestError) as caught:
        form_of(*parts)
    assert (str(caught.value), caught.value.status) == (sentence, 400)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(IMAGE), "multipart/form-data"),
        (form(IMAGE), "multipart/form-data; boundary=y"),
        (b"--x\r\nnonsense\r\n\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\ncontent-disposition: form-data\r\n\r\n1\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_a_broken_form_is_one_sentence(body, kind):
    with pytest.raises(RequestError, match=r"^the form is not valid \(.*\); send multipart/form-data$") as caught:
        images_of(body, kind)
    assert caught.value.status == 400
