"""What answers are chosen from is kept for whoever asks for the same next, and changes no answer."""

import pytest
from fake_shop import Shop, index
from starlette.testclient import TestClient

from vision_recs.feedback.exploration import Exploration
from vision_recs.recommend import Learn, Policy
from vision_recs.serve import ServeOptions, create_app, served
from vision_recs.serve.choices import Choices

EXPLORING = Policy(one_per=None, learn=Learn(exploration=Exploration(0.5), share=0.7))


@pytest.fixture
def store(tmp_path):
    shop = Shop()
    for number in range(40):
        shop.put(f"item{number:02}", number, price=float(number))
    index(shop, tmp_path / "store")
    return shop, tmp_path / "store"


def test_the_choice_that_was_asked_for_longest_ago_goes():
    choices = Choices(most=2)
    one, other, third = (object() for _ in range(3))
    choices.keep(("one", True), one)
    choices.keep(("other", True), other)
    assert choices.get(("one", True)) is one
    choices.keep(("third", True), third)
    assert [choices.get((name, True)) for name in ("one", "other", "third")] == [one, None, third]
    assert choices.get(("one", False)) is None


def test_answers_are_those_that_are_chosen_anew(store, tmp_path, monkeypatch):
    asked = [f"?id=item{number % 5:02}&k={3 + number % 2}&shopper=s{number}" for number in range(60)]
    asked += [f"?id=item01&shopper=s{number}&explain={number % 2 == 0}" for number in range(20)]
    monkeypatch.setattr("vision_recs.serve.handlers.similar.time", lambda: 1_800_000_000.0)

    def answers():
        options = ServeOptions(store[1], events=tmp_path / "events", policy=EXPLORING)
        with TestClient(create_app(options)) as client:
            return [client.get(f"/v1/similar{each}").json() for each in asked]

    kept = answers()
    monkeypatch.setattr(served, "Choices", lambda: Choices(most=0))
    assert answers() == kept
    assert len({str(each["matches"]) for each in kept[:60:10]}) > 1  # they explore, each in its own way


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
