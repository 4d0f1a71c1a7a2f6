"""Parts of images as queries over HTTP: in the URL, and in a form."""

import io

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def photo(sample_images):
    """The bytes of a photo of a lamp, and of a mug at its right."""
    both = Image.new("RGB", (768, 384), (240, 240, 240))
    for at, name in enumerate(("lamp-03-2.jpg", "mug-01-1.jpg")):
        both.paste(Image.open(sample_images / name).resize((384, 384)), (384 * at, 0))
    file = io.BytesIO()
    both.save(file, "JPEG", quality=92)
    return file.getvalue()


def first(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["matches"][0]["id"]


def test_a_part_is_named_in_the_url(client, photo):
    for crop, item in (("0,0,0.5,1", "lamp-03"), ("0.5,0,0.5,1", "mug-01")):
        answer = client.post(
            f"/v1/similar/image?k=1&crop={crop}", content=photo, headers={"content-type": "image/jpeg"}
        )
        assert first(answer) == item


def test_a_form_has_a_part_for_each_image(client, photo):
    files = [("image", ("a.jpg", photo, "image/jpeg")), ("image", ("b.jpg", photo, "image/jpeg"))]
    query = '{"k": 2, "explain": true}'
    answer = client.post("/v1/similar/image", files=files, data={"crop": ["0.5,0,0.5,1", ""], "query": query})
    assert first(answer) == "mug-01"
    one, whole = answer.json()["matches"][0]["explanation"]["terms"]
    assert one["score"] > 0.9 > whole["score"]


@pytest.mark.parametrize(
    ("crops", "sentence"),
    [
        (["0,0,1,1", "0,0,1,1"], "there are 2 crops for 1 images; send one for each, or none"),
        (["1,2,3"], "'1,2,3' is not a crop; write x,y,width,height"),
        (["2,0,1,1"], "holds nothing of the image"),
    ],
)
def test_a_wrong_part_is_a_sentence(client, photo, crops, sentence):
    answer = client.post("/v1/similar/image", files=[("image", ("a.jpg", photo, "image/jpeg"))], data={"crop": crops})
    assert answer.status_code == 400
    assert sentence in answer.json()["detail"]
