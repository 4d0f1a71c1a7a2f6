"""What answers are chosen from is kept for whoever asks for the same next, and changes no answer."""

from io import BytesIO

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, image, index, png
from PIL import Image
from starlette.testclient import TestClient

from vision_recs.feedback.exploration import Exploration, Slate
from vision_recs.recommend import Learn, Policy
from vision_recs.recommend.offers import Choice
from vision_recs.serve import ServeOptions, create_app, served
from vision_recs.serve.choices import Choices, Key

EXPLORING = Policy(one_per=None, learn=Learn(exploration=Exploration(0.5), share=0.7))


@pytest.fixture
def store(tmp_path):
    shop = Shop()
    for number in range(40):
        shop.put(f"item{number:02}", number, price=float(number))
    index(shop, tmp_path / "store")
    return shop, tmp_path / "store"


def key(name, *, is_learned=True):
    return Key(name.encode(), is_learned)


def choice_of(count):
    return Choice(Slate(tuple(map(str, range(count)))), (), list)


def test_the_choice_that_was_asked_for_longest_ago_goes():
    choices = Choices(most=20)
    one, other, third = (choice_of(9) for _ in range(3))
    choices.keep(key("one"), one)
    choices.keep(key("other"), other)
    choices.keep(key("other"), other)
    assert choices.get(key("one")) is one
    choices.keep(key("third"), third)
    assert [choices.get(key(name)) for name in ("one", "other", "third")] == [one, None, third]
    assert choices.get(key("one", is_learned=False)) is None


def test_choices_of_large_answers_are_fewer():
    choices = Choices(most=1_000)
    for number in range(50):
        choices.keep(key(f"{number}"), choice_of(99))
    assert [number for number in range(50) if choices.get(key(f"{number}"))] == list(range(40, 50))
    choices.keep(key("too large"), choice_of(1_000))
    choices.keep(key("small"), choice_of(999))
    assert choices.get(key("too large")) is None
    assert choices.get(key("small"))


def test_the_parts_of_an_image_are_asked_for_each_alone(store, tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    both = np.hstack([Image.open(BytesIO(image(number))) for number in (3, 7)])
    options = ServeOptions(store[1], events=tmp_path / "events", policy=Policy(one_per=None))
    with TestClient(create_app(options)) as client:

        def nearest(crop):
            path = f"/v1/similar/image?k=1&crop={crop}"
            return client.post(path, content=png(both), headers={"content-type": "image/png"}).json()

        found = [nearest(crop) for crop in ("0,0,0.5,1", "0.5,0,0.5,1")]
    assert [each["matches"][0]["id"] for each in found] == ["item03", "item07"]
    assert found[0].get("answer") != found[1]["answer"]


def test_answers_are_those_that_are_chosen_anew(store, tmp_path, monkeypatch):
    asked = [f"?id=item{number % 5:02}&k={3 + number % 2}&shopper=s{number}" for number in range(60)]
    asked += [f"?id=item01&shopper=s{number}&explain={number % 2 == 0}" for number in range(20)]

    def answers():
        options = ServeOptions(store[1], events=tmp_path / "events", policy=EXPLORING)
        with TestClient(create_app(options)) as client:
            return [client.get(f"/v1/similar{each}").json() for each in asked]

    kept = answers()
    monkeypatch.setattr(served, "Choices", lambda **_: Choices(most=0))
    assert answers() == kept
    shown = {tuple(match["id"] for match in each["matches"]) for each in kept[60:]}
    assert len(shown) > 3  # twenty shoppers explore, each in its own way


def test_a_new_generation_is_chosen_from_anew(store, tmp_path):
    shop, folder = store
    options = ServeOptions(folder, events=tmp_path / "events", policy=EXPLORING, poll_interval_s=0.02)
    with TestClient(create_app(options)) as client:

        def shown(number):
            found = client.get(f"/v1/similar?id=item00&k=40&shopper=s{number}").json()
            return found["generation"], {match["id"] for match in found["matches"]}

        assert "item07" in shown(0)[1]
        del shop.items["item07"]
        index(shop, folder)
        found = next(found for found in map(shown, range(1, 10_000)) if found[0] == 2)
        assert "item07" not in found[1]
