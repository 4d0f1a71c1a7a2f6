"""Answers are functions: the same query in the same hour has the same answer and id, and no other id is accepted."""

import base64
import hashlib
import hmac
import json

import pytest

from vision_recs.feedback.answers import (
    AnswerKey,
    draw,
    half_of,
    hour_of,
    is_answer,
    pseudonym,
    sees_learned,
)

KEY = AnswerKey("mug-01", "", "rules", 7, hour_of(1_800_000_000.0))


def test_the_same_key_has_the_same_answer(secret):
    assert draw(secret, KEY) == draw(secret, AnswerKey(*KEY))


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(query="mug-02"),
        KEY._replace(shopper="s"),
        KEY._replace(policy="other"),
        KEY._replace(generation=8),
        KEY._replace(hour=KEY.hour + 1),
        KEY._replace(query='mug-01", "', shopper=""),
    ],
)
def test_whatever_differs_gives_another_answer(secret, other):
    one, two = draw(secret, KEY), draw(secret, other)
    assert one.id != two.id
    assert not set(one.numbers) & set(two.numbers)


@pytest.mark.parametrize("text", ["mug-01", 'a "mug"\\ \n\x00\x7f', "tasse \u00e9\u2028\U0001f375", "\ud83c", ""])
def test_what_is_random_follows_from_the_json_of_the_key(secret, text):
    key = AnswerKey(text, text, text, 7, -1)
    digest = hmac.new(secret, b"answer\0" + json.dumps(key).encode(), hashlib.sha256).digest()
    found = draw(secret, key)
    assert base64.urlsafe_b64decode(found.id + "==")[:8] == digest[:8]
    eights = [int.from_bytes(digest[start : start + 8], "big") for start in (8, 16, 24)]
    assert found.numbers == tuple((eight >> 11) / 2**53 for eight in eights)


def test_the_hour_changes_on_the_hour():
    assert hour_of(3_599.9) == 0
    assert hour_of(3_600.0) == 1


def test_the_id_of_an_answer_is_22_characters_with_a_code(secret):
    answer = draw(secret, KEY).id
    assert len(answer) == 22
    assert is_answer(secret, answer)
    assert not is_answer(b"another secret", answer)


def test_no_other_id_is_accepted(secret):
    """Of every character, each other one is tried, and so are other spellings of the same bytes."""
    answer = draw(secret, KEY).id
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. é"
    changed = {answer[:at] + letter + answer[at + 1 :] for at in range(22) for letter in alphabet} - {answer}
    assert [each for each in changed if is_answer(secret, each)] == []
    assert not any(is_answer(secret, each) for each in ("", answer + "=", answer[:-1], answer + "AA", " " + answer))


def test_random_numbers_are_even(secret):
    numbers = [draw(secret, KEY._replace(hour=hour)).numbers for hour in range(20_000)]
    for column in zip(*numbers, strict=True):
        tenths = [sum(int(value * 10) == tenth for value in column) for tenth in range(10)]
        assert sum((count - 2_000) ** 2 / 2_000 for count in tenths) < 27.9  # chi-squared of 9: one of 1,000


def test_a_pseudonym_is_an_hmac_of_the_shopper(secret):
    found = pseudonym(secret, "ann@example.org")
    raw = hmac.new(secret, b"shopper\0ann@example.org", hashlib.sha256).digest()[:16]
    assert int.from_bytes(raw, "big") == int.from_bytes(base64.urlsafe_b64decode(found + "=="), "big")
    assert pseudonym(b"other", "ann@example.org") != found


def test_a_shopper_stays_in_one_arm_and_the_arms_have_their_shares(secret):
    shoppers = [f"shopper {number}" for number in range(20_000)]
    few = {each for each in shoppers if sees_learned(secret, each, 0.1)}
    many = {each for each in shoppers if sees_learned(secret, each, 0.9)}
    assert few < many  # who sees learned answers keeps seeing them as the share grows
    assert abs(len(few) - 2_000) < 170  # four standard deviations
    assert abs(len(many) - 18_000) < 170
    assert all(sees_learned(secret, each, 1.0) for each in shoppers)
    assert not any(sees_learned(secret, each, 0.0) for each in shoppers)


def test_half_of_all_shoppers_is_in_each_half():
    assert abs(sum(half_of(f"s{number}") for number in range(10_000)) - 5_000) < 200
