"""The token and the cookie, header by header, without a server."""

import asyncio

import pytest

from vision_recs.errors import RequestError
from vision_recs.serve import auth
from vision_recs.serve.auth import TokenAuth

TOKEN = "korrekt häst"


@pytest.fixture
def check():
    return TokenAuth(TOKEN)


@pytest.mark.parametrize(
    ("header", "is_right"),
    [
        (f"Bearer {TOKEN}", True),
        (f"BEARER  {TOKEN} ", True),
        (f"bearer {TOKEN}", True),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer{TOKEN}", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer {TOKEN.upper()}", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("", False),
    ],
)
def test_the_header_has_the_scheme_and_the_whole_token(check, header, is_right):
    assert check.is_authenticated(header.encode("latin-1"), b"") == is_right


@pytest.mark.parametrize(
    ("cookie", "is_right"),
    [
        ("visrec={}", True),
        ("other=1; visrec={}; more=2", True),
        ("visrec={}x", False),
        ("other={}", False),
        ("visrec=", False),
        ("visrec", False),
        (f"visrec={TOKEN}", False),
        ("bad(name)=1; visrec={}", False),  # which no browser sends
        ("\x00=\xff", False),
        ("", False),
    ],
)
def test_the_cookie_is_what_a_session_was_given(check, cookie, is_right):
    assert check.is_authenticated(b"", cookie.format(check.session_cookie).encode("latin-1")) == is_right
    assert not TokenAuth("another").is_authenticated(b"", cookie.format(check.session_cookie).encode("latin-1"))


def test_a_server_without_a_token_lets_everybody_in_and_has_no_cookie():
    open_to_all = TokenAuth(None)
    assert (open_to_all.is_required, open_to_all.session_cookie) == (False, "")
    assert open_to_all.is_authenticated(b"Bearer x", b"visrec=y")
    assert open_to_all.is_token("anything")
    assert TokenAuth(TOKEN).is_required
    assert TokenAuth(TOKEN).is_token(TOKEN)
    assert not TokenAuth(TOKEN).is_token("anything")


def test_whoever_was_delayed_makes_place_for_the_next(check, monkeypatch):
    monkeypatch.setattr(auth, "_DELAY_S", 0)
    monkeypatch.setattr(auth, "_MAX_DELAYED", 2)

    async def statuses(count):
        tries = (check.reject({"client": None}) for _ in range(count))
        return [error.status for error in await asyncio.gather(*tries, return_exceptions=True)]

    assert asyncio.run(statuses(3)) == [401, 401, 429]
    assert asyncio.run(statuses(2)) == [401, 401]
    with pytest.raises(RequestError, match="the token is wrong; ask who runs this server"):
        asyncio.run(check.reject({}))
