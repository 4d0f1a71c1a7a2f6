"""What the API says is similar is what Python says."""

import json
import urllib.request
from pathlib import Path

import pytest

import vision_recs
from vision_recs import Filter, Policy, Query, Weighted
from vision_recs.encoders.registry import supports_text
from vision_recs.recommend import Event, History
from vision_recs.recommend.query_encoder import QueryEncoder


@pytest.fixture(scope="module")
def recommender(sample_store):
    return vision_recs.open(sample_store)


def ranking_of(response):
    assert response.status_code == 200, response.text
    return [(match["rank"], match["id"], match["score"], match["image"]) for match in response.json()["matches"]]


def expected_ranking(matches):
    return [(rank, match.id, round(match.score, 6), match.image) for rank, match in enumerate(matches, 1)]


def test_an_id_is_answered_as_python_answers_it(client, recommender):
    response = client.get("/v1/similar", params={"id": "mug-01"})
    assert ranking_of(response) == expected_ranking(recommender.similar("mug-01"))
    assert len(ranking_of(response)) == 10
    first = response.json()["matches"][0]
    assert first["attributes"] == dict(recommender.similar("mug-01")[0].attributes)
    assert response.json()["generation"] == 1


def test_every_field_of_a_policy_has_a_parameter(client, recommender):
    response = client.get(
        "/v1/similar",
        params=[
            ("id", "mug-01"),
            ("id", "vase-02"),
            ("negative", "lamp-05"),
            ("k", "7"),
            ("where", "price < 100"),
            ("one_per", "category"),
            ("exclude", "mug-02"),
            ("min_score", "0.2"),
            ("diversity", "0.3"),
        ],
    )
    query = Query(items=("mug-01", "vase-02"), negatives=("lamp-05",), k=7, where=Filter.parse("price < 100"))
    policy = Policy(one_per="category", exclude=frozenset({"mug-02"}), min_score=0.2, diversity=0.3)
    assert ranking_of(response) == expected_ranking(recommender.query(query, policy))


def test_one_per_item_shows_all_variants(client, recommender):
    response = client.get("/v1/similar", params={"id": "mug-01", "k": 3, "one_per": "item"})
    assert ranking_of(response) == expected_ranking(recommender.similar("mug-01", k=3, policy=Policy(one_per=None)))
    assert ranking_of(response) != ranking_of(client.get("/v1/similar", params={"id": "mug-01", "k": 3}))


def test_a_query_has_weights_and_a_policy(client, recommender):
    body = {
        "items": [{"id": "mug-01", "weight": 2}, "bowl-02"],
        "negatives": [{"id": "lamp-05", "weight": 1.5}, "vase-02"],
        "k": 4,
        "where": 'category != "mug"',
        "explain": True,
        "policy": {"one_per": None, "where": "in_stock", "diversity": 0.1, "exclude": ["bottle-03"]},
    }
    query = Query(
        items=(Weighted("mug-01", 2.0), "bowl-02"),
        negatives=(Weighted("lamp-05", 1.5), "vase-02"),
        k=4,
        where=Filter.parse('category != "mug"'),
        explain=True,
    )
    policy = Policy(one_per=None, where=Filter.parse("in_stock"), diversity=0.1, exclude=frozenset({"bottle-03"}))
    response = client.post("/v1/similar", json=body)
    expected = recommender.query(query, policy)
    assert ranking_of(response) == expected_ranking(expected)
    first, explanation = response.json()["matches"][0]["explanation"], expected[0].explanation
    assert [(part["query"], part["weight"], part["score"]) for part in first["terms"]] == [
        (part.query, part.weight, round(part.score, 6)) for part in explanation.terms
    ]
    assert first["shared"] == dict(explanation.shared)


def test_a_history_is_answered_by_its_interests(client, recommender):
    seen = [{"id": "lamp-05", "time": 1_700_000_000}, {"id": "mug-01", "time": 1_690_000_000, "weight": 3}]
    response = client.post("/v1/similar", json={"history": seen, "k": 5})
    history = History((Event("lamp-05", 1_700_000_000), Event("mug-01", 1_690_000_000, 3)))
    assert ranking_of(response) == expected_ranking(recommender.query(Query(history=history, k=5)))
    assert [(each["id"], each["share"]) for each in response.json()["interests"]] == [
        (interest.medoid, round(interest.share, 6)) for interest in recommender.interests(history)
    ]


def test_an_uploaded_image_finds_its_own_item(client, recommender, sample_images):
    data = (sample_images / "lamp-03-2.jpg").read_bytes()
    raw = client.post("/v1/similar/image?k=3", content=data, headers={"content-type": "image/jpeg"})
    assert ranking_of(raw) == expected_ranking(recommender.similar_to_image(data, k=3))
    assert ranking_of(raw)[0][1] == "lamp-03"
    form = client.post("/v1/similar/image?k=3", files={"image": ("lamp.jpg", data, "image/jpeg")})
    assert ranking_of(form) == ranking_of(raw)


def test_a_form_has_images_and_the_rest_of_a_query(client, recommender, sample_images):
    names = ["lamp-03-2.jpg", "mug-01-2.jpg"]
    data = [(sample_images / name).read_bytes() for name in names]
    query = {"items": ["vase-02"], "negatives": ["lamp-05"], "k": 4, "explain": True}
    files = [("image", (name, each, "image/jpeg")) for name, each in zip(names, data, strict=True)]
    response = client.post("/v1/similar/image", data={"query": json.dumps(query)}, files=files)
    expected = recommender.query(Query(items=("vase-02",), images=tuple(data), negatives=("lamp-05",), k=4))
    assert ranking_of(response) == expected_ranking(expected)
    queries = [part["query"] for part in response.json()["matches"][0]["explanation"]["terms"]]
    assert queries == ["vase-02", *names, "lamp-05"]


def test_the_rules_of_the_server_apply_to_every_answer(connect, sample_store, sample_images, recommender):
    policy = vision_recs.read_policy(sample_images / "rules.toml")
    with connect(sample_store, policy=policy) as client:
        response = client.get("/v1/similar", params={"id": "mug-01", "k": 5})
        assert ranking_of(response) == expected_ranking(recommender.similar("mug-01", k=5, policy=policy))
        assert response.json()["matches"][1]["explanation"]["effects"] == [
            {"rule": "breakfast set", "score_delta": None, "position": 2}
        ]


def test_texts_need_an_encoder_that_supports_text(client):
    response = client.get("/v1/similar", params={"text": "a striped mug"})
    assert response.status_code == 422
    assert response.json()["type"] == "urn:visrec:error:NoTextTower"
    assert client.get("/v1/info").json()["supports_text"] is False


def test_an_answer_has_an_etag_by_generation(client):
    first = client.get("/v1/similar", params={"id": "mug-01"})
    again = client.get("/v1/similar", params={"id": "mug-01"}, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    weak = client.get(
        "/v1/similar", params={"id": "vase-02"}, headers={"if-none-match": f'"x", W/{again.headers["etag"]}'}
    )
    assert weak.status_code == 304
    other = client.get("/v1/similar", params={"id": "mug-01"}, headers={"if-none-match": '"other"'})
    assert other.status_code == 200


def test_a_query_by_id_loads_neither_torch_nor_openvino(serve, sample_store, tmp_path):
    with serve(sample_store, tmp_path / "log") as server:
        with urllib.request.urlopen(f"{server.url}/v1/similar?id=mug-01", timeout=30) as response:
            assert response.status == 200
        (worker,) = server.worker_ids()
        maps = Path(f"/proc/{worker}/maps").read_text()
    assert "faiss" in maps
    assert "libtorch" not in maps
    assert "libopenvino" not in maps


def test_texts_are_answered_if_the_encoder_supports_text(connect, sample_store, recommender, monkeypatch):
    """The encoder of the samples has no text tower: one that knows a single sentence stands in for it."""

    def texts(_, queries):
        assert list(queries) == ["a striped mug"]
        return recommender.items.vectors_of([recommender.items.images("mug-01")[0].digest])

    monkeypatch.setattr(QueryEncoder, "texts", texts)
    expected = recommender.query(Query(items=("vase-02",), texts=(Weighted("a striped mug", 2.0),), k=4))
    with connect(sample_store) as client:
        body = {"items": ["vase-02"], "texts": [{"text": "a striped mug", "weight": 2}], "k": 4}
        assert ranking_of(client.post("/v1/similar", json=body)) == expected_ranking(expected)
        first = client.get("/v1/similar", params={"text": "a striped mug", "k": 1}).json()["matches"][0]
        assert (first["id"], first["score"]) == ("mug-01", 1.0)


@pytest.mark.parametrize(
    ("encoder", "reads"),
    [("clip", True), ("siglip2", True), ("hf-hub:a/b", True), ("efficientnet-lite0", False), ("my own", False)],
)
def test_which_encoders_support_text(encoder, reads):
    assert supports_text(encoder) is reads
