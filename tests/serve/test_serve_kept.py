"""Kept answers to queries by id that take the short path are those of the general path, to the byte, and in the log."""

import random

import numpy as np
import pytest
from fake_shop import GRID, SIDE, Shop, index, png
from property_examples import examples_of
from starlette.testclient import TestClient

from vision_recs.errors import StoreDamaged
from vision_recs.feedback.exploration import Exploration
from vision_recs.feedback.features import Features
from vision_recs.feedback.fitting import Fitted
from vision_recs.feedback.model import Learned
from vision_recs.jobs import publish_model
from vision_recs.recommend import Event as Visit
from vision_recs.recommend import History, Learn, Policy, Rules
from vision_recs.serve import ServeOptions, create_app
from vision_recs.serve.kept_answers import KeptAnswers
from vision_recs.serve.shoppers import Known, Shoppers

ITEMS = 90
REQUESTS = examples_of(160)
EXPLORING = Policy(one_per=None, learn=Learn(exploration=Exploration(0.5), share=0.6))


def twin(seed, draw):
    """Return an image that has the same vector as `image(seed)`, and other bytes."""
    half = SIDE // GRID
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3))
    cell = pixels[:half, :half].reshape(-1, 3)  # whose mean counts
    pixels[:half, :half] = cell[draw.sample(range(len(cell)), len(cell))].reshape(half, half, 3)
    return png(pixels)


def random_shop(draw):
    """Return a shop of variants, of items with several images, one of them twice, and of some that share one."""
    shop = Shop()
    for number in range(ITEMS):
        images = [1_000 + 3 * number + place for place in range(draw.choice([1, 1, 2, 3]))]
        images += [1] if number > ITEMS - 4 else []
        if number == ITEMS // 3:
            images.append(f"twin{number}.png")
            shop.files[images[-1]] = twin(images[0], draw)
        group = {"variant_group": draw.choice("abcdefgh")} if draw.random() < 0.3 else {}
        shop.put(f"item{number}", *images, title=f'"Mug" \u00e9 {number}', price=float(1 + number), **group)
    return shop


def shop_of_twins(draw):
    """Return a shop whose images have twelve vectors."""
    shop = Shop()
    for number in range(ITEMS):
        group = {"variant_group": draw.choice("abcdefgh")} if draw.random() < 0.3 else {}
        shop.files[f"{number}.png"] = twin(number % 12, draw)
        shop.put(f"item{number}", f"{number}.png", price=float(1 + number), **group)
    return shop


def model_of(items):
    random_ = np.random.default_rng(1)
    factors, expected = np.exp(random_.normal(0, 0.5, len(items))), random_.random(len(items)) * 9
    none = np.empty(0, np.int64)
    fitted = Fitted(
        np.zeros(4), np.ones(4), np.ones(4) * 0.1, -3.0, np.ones(10), 10.0, factors, expected, none, none, np.empty(0)
    )
    return Learned(Features((), ("price",)), fitted, items).to_bytes()


@pytest.fixture(scope="module", params=["model", "no model"])
def store(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "store"
    shop = (shop_of_twins if request.param == "twins" else random_shop)(random.Random(5))
    index(shop, folder)
    if request.param != "no model":
        publish_model(folder, model_of(tuple(sorted(shop.items))))
    return folder


def random_path(draw, number):
    parts = [
        f"/v1/similar?id=item{draw.randrange(ITEMS + 3)}",
        draw.choice(["", "", "&k=1", "&k=4", "&k=25", "&k=500"]),
        draw.choice(["", "&cover=true"]),
        draw.choice(["", "&shopper=Ada", f"&shopper=s{number}"]),
        draw.choice(["", "", "&reports_shown=true"]),
    ]
    return "".join(parts)


@pytest.fixture
def asking(store, tmp_path, monkeypatch):
    """Return a function that returns the responses to paths and the log of them, and how many took the short path."""
    events = tmp_path / "events"
    monkeypatch.setattr("vision_recs.serve.state.time", lambda: 3_600.0 * 494_444.4)
    made = []
    answer = KeptAnswers.answer

    def noted(self, *others):
        made.append(answer(self, *others))
        return made[-1]

    monkeypatch.setattr(KeptAnswers, "answer", noted)

    def ask(paths, policy, *, is_general):
        made.clear()
        for path in (events / "open").glob("*.log"):
            path.unlink()
        with monkeypatch.context() as patch:
            if is_general:
                patch.setattr(KeptAnswers, "of", classmethod(lambda *_: None))
            options = ServeOptions(store, events=events, policy=policy, poll_interval_s=3600)
            with TestClient(create_app(options)) as client:
                responses = [client.get(path, headers={"x-request-id": "r"}) for path in paths]
        lines = b"".join(path.read_bytes() for path in (events / "open").glob("*.log"))
        return [(each.status_code, each.headers.raw, each.content) for each in responses], lines, len(made)

    return ask


def responses_of_both_paths(asking, policy, *, seed):
    """Return the responses to random requests, and how many the short path answered, as the general one does."""
    draw = random.Random(seed)
    paths = [*(random_path(draw, number) for number in range(REQUESTS)), "/v1/similar?id=nobody"]
    responses, lines, count = asking(paths, policy, is_general=False)
    others, other_lines, none = asking(paths, policy, is_general=True)
    assert responses == others
    assert lines == other_lines
    assert none == 0
    return responses, count


@pytest.mark.parametrize(
    "policy",
    [
        EXPLORING,
        Policy(),
        Policy(one_per=None, rules=Rules(path="rules.toml")),
        Policy(rules=Rules(), learn=Learn(exploration=Exploration(0.5, (2, 6), 0.5), share=1)),
        Policy(one_per=None, exclude=frozenset({"item1", "item2"}), learn=Learn(share=1)),
    ],
    ids=["exploring", "variants", "a file without rules", "variants and a file", "learned"],
)
def test_answers_and_log_are_those_of_the_general_path(asking, policy):
    responses, count = responses_of_both_paths(asking, policy, seed=7)
    assert count > REQUESTS / 4
    assert {status for status, _, _ in responses} == {200, 404}


@pytest.mark.parametrize("store", ["twins"], indirect=True)
@pytest.mark.parametrize("policy", [EXPLORING, Policy(), Policy(one_per=None)], ids=["exploring", "variants", "plain"])
def test_images_with_equal_scores_are_put_into_order_on_the_short_path(asking, policy):
    responses, count = responses_of_both_paths(asking, policy, seed=8)
    assert count == sum(status == 200 for status, _, _ in responses)


def test_policies_that_take_more_than_scores_are_left_to_the_general_path(asking):
    for policy in (Policy(diversity=0.5), Policy(min_score=0.1), Policy(one_per="price"), Policy(averaging=3)):
        _, lines, count = asking(["/v1/similar?id=item1"], policy, is_general=False)
        assert (lines.count(b"\n"), count) == (1, 0)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_file_that_only_relaxes_what_the_policy_says_does_so(tmp_path, keeps):
    shop = Shop()
    for number in range(8):
        shop.put(f"item{number}", number, variant_group="ab"[number % 2])
    index(shop, tmp_path / "store")
    policy = Policy(rules=Rules(fallbacks=("one_per",)))
    events = tmp_path / "events" if keeps else None
    with TestClient(create_app(ServeOptions(tmp_path / "store", events=events, policy=policy))) as client:
        matches = client.get("/v1/similar?id=item1&k=6").json()["matches"]
    assert len(matches) == 6
    assert matches[-1]["explanation"]["relaxed"] == ["one_per"]


def test_answers_that_interests_move_are_left_to_the_general_path(asking, monkeypatch):
    def known(_, snapshot, shopper):  # noqa: ARG001 - in the place of a method
        history = History((Visit("item7", 1.0),))
        return Known(history, tuple(snapshot.recommender.interests(history)))

    monkeypatch.setattr(Shoppers, "known", known)
    paths = [f"/v1/similar?id=item{number}&shopper=Ada" for number in range(5)]
    for learn, is_taken in ((Learn(share=1), False), (Learn(share=0), True), (Learn(share=1, interests=0), True)):
        _, lines, count = asking(paths, Policy(one_per=None, learn=learn), is_general=False)
        assert (lines.count(b"\n"), count > 0) == (5, is_taken)


def test_an_answer_that_cannot_be_read_is_logged_once(asking, monkeypatch):
    found = []

    def damaged(*_):
        found.append("damage")
        raise StoreDamaged("no such image")

    monkeypatch.setattr("vision_recs.serve.kept_answers._tried", damaged)
    paths = [f"/v1/similar?id=item{number}&shopper=s{number}" for number in range(20)]
    responses, lines, _ = asking(paths, EXPLORING, is_general=False)
    assert {status for status, _, _ in responses} == {200}
    assert found
    assert lines.count(b"\n") == len(paths)
