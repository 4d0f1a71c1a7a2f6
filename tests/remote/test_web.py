"""Images from web servers: what is asked, how often, and what each answer comes to."""

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import web_site
from web_site import connect_to, give_file, in_turn, redirect, resolve_to, status

from vision_recs._version import __version__
from vision_recs.errors import ImageError
from vision_recs.remote import guard
from vision_recs.remote.hosts import HostAway
from vision_recs.remote.images import RemoteImages, Stopped
from vision_recs.remote.options import RemoteOptions
from vision_recs.remote.web import WebImages
from vision_recs.types import ImageData, Unchanged

CERTIFICATE = Path(__file__).parents[1] / "support" / "certificates" / "shop.example.pem"
"""A certificate of shop.example, signed by itself, and its key."""

QUICK = {"allow_private": True, "backoff_s": 0.001, "max_rest_s": 30.0, "pace": 1e6}


def images(**options):
    return RemoteImages(RemoteOptions(**{**QUICK, **options}))


def reason(source, address):
    with pytest.raises(ImageError) as caught:
        source.read(address)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def without_end(body):
    """Give *body* with an ETag and without its length, as HTTP/1.0 does: the end of the connection is its end."""

    def answer(handler):
        handler.asked.status, handler.asked.sent = 200, len(body)
        handler.wfile.write(b'HTTP/1.0 200 OK\r\ncontent-type: image/png\r\netag: "1"\r\n\r\n' + body)
        handler.close_connection = True

    return answer


@pytest.fixture
def mug(site):
    """The address of an image."""
    site.files["/mug.png"] = b"mug"
    return f"{site.url}/mug.png"


# What is asked


def test_an_image_is_read_with_its_etag_and_a_known_one_is_not_sent_again(site, mug):
    source = images()
    found = source.read(mug)
    assert found.data == b"mug"
    assert found.signature.startswith("etag:")
    assert isinstance(source.read(mug, known=found.signature), Unchanged)
    site.files["/mug.png"] = b"another mug"
    assert source.read(mug, known=found.signature).data == b"another mug"
    assert (site.statuses(), site.bodies()) == ([200, 304, 200], ["/mug.png", "/mug.png"])


def test_without_an_etag_the_time_of_the_last_change_is_the_signature_unless_it_may_change_yet(site, mug):
    now = datetime.now(UTC)
    times = {"last-modified": format_datetime(now - timedelta(days=1), usegmt=True), "date": ""}

    def by_time(handler):
        if handler.asked.headers.get("if-modified-since") == times["last-modified"]:
            handler.give(304)
        else:
            handler.give(200, b"mug", {"content-type": "image/png", "last-modified": times["last-modified"]})

    site.answers["/mug.png"] = by_time
    source = images()
    found = source.read(mug)
    assert found == ImageData(b"mug", f"modified:{times['last-modified']}")
    assert isinstance(source.read(mug, known=found.signature), Unchanged)
    times["last-modified"] = format_datetime(datetime.now(UTC), usegmt=True)
    assert source.read(mug).signature is None
    times["last-modified"] = "yesterday"
    assert source.read(mug).signature is None


def test_a_signature_of_another_kind_asks_for_the_image(site, mug):
    assert images().read(mug, known="12-34-56").data == b"mug"
    assert "if-none-match" not in site.requests[0].headers


def test_who_asks_says_so_honestly(site, mug):
    images().read(mug)
    images(user_agent="shop/1").read(mug)
    assert [request.headers["user-agent"] for request in site.requests] == [
        f"visrec/{__version__} (fetches product images for visual search)",
        "shop/1",
    ]


def test_an_address_is_sent_as_a_server_understands_it(site):
    site.files["/größe/a mug%.png"] = b"mug"
    assert images().read(f"{site.url}/größe/a mug%25.png?v=1 7#part").data == b"mug"
    assert site.requests[0].headers["host"] == f"127.0.0.1:{site.port}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://", "is no address of the web"),
        ("http://shop.example:99999/a.png", "is no address"),
        ("http://[::1/a.png", "is no address"),
        ("http://shop..example/a.png", "is no address"),
        (f"http://{'a' * 64}.example/a.png", "is no address"),
        ("http://sh\nop.example/a.png", "is no address"),
        ("http://user:secret@shop.example/a.png", "user name or password"),
        ("http://:secret@shop.example/a.png", "user name or password"),
        ("ftp://shop.example/a.png", "images are not read from"),
    ],
)
def test_what_is_no_address_is_told_without_asking_anybody(address, words):
    with pytest.raises(ImageError, match=words) as caught:
        images().read(address)
    assert caught.value.reason == "remote"
    assert "secret" not in str(caught.value)


def test_a_connection_is_kept_for_the_next_image_of_its_server(site, mug):
    source = images(own_images=True)
    for _ in range(5):
        source.read(mug)
    with pytest.raises(ImageError):
        source.read(f"{site.url}/gone.png")
    source.read(mug)
    assert len({request.connection for request in site.requests}) == 1


def test_a_connection_that_its_server_has_closed_is_opened_anew_without_a_word(site, mug):
    def last_one(handler):
        give_file(handler)
        handler.close_connection = True  # which the client was not told

    site.answers["/mug.png"] = last_one
    source = images(own_images=True, tries=1)
    for _ in range(3):
        assert source.read(mug).data == b"mug"
    assert len(site.requests) == 3


def test_few_images_are_fetched_at_the_same_time_from_one_host(site):
    arrived, gate = threading.Semaphore(0), threading.Semaphore(0)

    def held(handler):
        arrived.release()
        gate.acquire(timeout=120)
        handler.give(200, b"mug", {"content-type": "image/png"})

    site.answers = {f"/{number}.png": held for number in range(12)}
    source = images(own_images=True, per_host=3)
    with ThreadPoolExecutor(12) as pool:
        found = [pool.submit(source.read, f"{site.url}/{number}.png") for number in range(12)]
        for _ in range(3):
            assert arrived.acquire(timeout=120)
        for _ in range(12):
            gate.release()
        assert [each.result().data for each in found] == [b"mug"] * 12
    assert site.most_at_once == 3


# What the answers come to


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(401), "http-401"),
        (status(403), "http-403"),
        (status(404), "http-404"),
        (status(410), "http-410"),
        (status(418), "http-4xx"),
        (status(206), "wrong-type"),
        (status(304), "broken-off"),
        (status(408), "timeout"),
        (status(429), "http-429"),
        (status(500), "http-5xx"),
        (status(503), "http-5xx"),
        (status(599), "http-5xx"),
        (web_site.a_page, "wrong-type"),
        (
            lambda handler: handler.give(200, b"zz", {"content-type": "image/png", "content-encoding": "br"}),
            "wrong-type",
        ),
        (web_site.huge, "too-large"),
        (web_site.endless, "too-large"),
        (web_site.silent, "timeout"),
        (web_site.dripped, "timeout"),
        (web_site.cut_off, "broken-off"),
        (lambda handler: handler.give(200, b"", {"content-type": "image/png"}), "empty"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), "broken-off"),
        (redirect("/mug.png"), "redirect"),
        (redirect("http://127.0.0.1:1/"), "refused"),
        (redirect("file:///etc/passwd"), "remote"),
        (redirect("http://[bad"), "redirect"),
        (lambda handler: handler.give(200, b"  <!DOCTYPE html><p>Sorry", {"content-type": "image/png"}), "wrong-type"),
        (without_end(b"\xff\xd8\xff half of a JPEG"), "broken-off"),
        (without_end(b"\x89PNG half of a PNG"), "broken-off"),
        (without_end(b"RIFF\xff\0\0\0WEBP"), "broken-off"),
        (status(302), "redirect"),
    ],
)
def test_each_answer_has_its_reason(site, answer, expected):
    site.answers["/mug.png"] = answer
    source = images(tries=1, max_bytes=10_000, total_s=0.3 if expected == "timeout" else 20, idle_s=10)
    assert reason(source, f"{site.url}/mug.png") == expected


def test_a_body_of_which_nobody_knows_the_end_has_no_signature(site):
    """It may be another one the next time, of the same ETag."""
    site.answers["/mug.png"] = without_end(b"\x89PNG a PNG IEND crc")
    found = images().read(f"{site.url}/mug.png")
    assert (found.data, found.signature) == (b"\x89PNG a PNG IEND crc", None)


@pytest.mark.parametrize(
    "headers",
    [
        {"last-modified": "Mon, 01 Jan 2024 00:00:00 +999999999999999"},
        {"last-modified": "Mon, 99 Jan 2024 00:00:00 GMT"},
        {"last-modified": "yesterday", "date": "Mon, 01 Jan 2024 00:00:00 +999999999999999"},
    ],
)
def test_a_time_that_is_none_is_no_signature(site, headers):
    site.answers["/mug.png"] = lambda handler: handler.give(200, b"mug", {"content-type": "image/png", **headers})
    assert images().read(f"{site.url}/mug.png") == ImageData(b"mug")


def test_a_redirect_in_utf8_leads_where_it_says(site):
    site.files["/größe.png"] = b"mug"
    site.answers["/mug.png"] = lambda handler: handler.wfile.write(
        "HTTP/1.1 302 Found\r\nlocation: /größe.png\r\ncontent-length: 0\r\n\r\n".encode()
    )
    assert images().read(f"{site.url}/mug.png").data == b"mug"


def test_a_byte_order_mark_hides_nothing_of_robots_txt(site, mug):
    site.robots = "\ufeffUser-agent: *\nDisallow: /\n"
    assert reason(images(), mug) == "robots"


def test_a_host_that_wants_to_rest_for_ever_is_not_asked_and_that_is_told_as_a_number(site, mug, caplog):
    site.answers["/mug.png"] = lambda handler: handler.give(429, headers={"retry-after": "9" * 400})
    assert reason(images(tries=1), mug) == "http-429"
    assert "127.0.0.1 rests for 86400 s" in caplog.text


def test_a_host_that_is_silent_for_too_long_is_not_waited_for_until_the_end(site):
    site.answers["/mug.png"] = web_site.silent
    assert reason(images(tries=1, idle_s=0.05, total_s=1000), f"{site.url}/mug.png") == "timeout"


@pytest.mark.parametrize(
    "kind", ["", "application/octet-stream", "application/x-png", "application/force-download", "IMAGE/JPEG; q=1"]
)
def test_a_media_type_that_says_nothing_is_no_reason(site, mug, kind):
    site.answers["/mug.png"] = lambda handler: handler.give(200, b"mug", {"content-type": kind})
    assert images().read(mug).data == b"mug"


def test_a_host_that_is_away_or_unknown_is_refused(monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        assert reason(images(tries=2), f"http://127.0.0.1:{port}/a.png") == "refused"

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(guard.socket, "getaddrinfo", unknown)
    with pytest.raises(ImageError, match=r"the host shop\.example is not known") as caught:
        images(tries=1).read("http://shop.example/a.png")
    assert caught.value.reason == "refused"


def test_what_may_pass_is_tried_again_and_what_will_not_is_not(site, mug):
    site.answers["/mug.png"] = in_turn(status(503), web_site.cut_off, status(500), give_file)
    assert images(tries=4).read(mug).data == b"mug"
    assert site.statuses()[-1] == 200
    site.requests.clear()
    site.answers["/mug.png"] = status(503)
    assert reason(images(tries=4), mug) == "http-5xx"
    assert site.statuses() == [503] * 4
    site.requests.clear()
    site.answers["/mug.png"] = status(403)
    assert reason(images(tries=4), mug) == "http-403"
    assert site.statuses() == [403]


@pytest.fixture
def waiting():
    """A source that never waits, and the seconds that it wanted to."""
    waited = []

    def wait(seconds):
        waited.append(seconds)
        raise Stopped

    def make(**options):
        return WebImages(RemoteOptions(**{**QUICK, **options}), wait=wait)

    return make, waited


@pytest.mark.parametrize("number", [429, 503])
def test_a_pause_that_a_server_asks_for_is_one_of_all_its_images(site, mug, waiting, number):
    make, waited = waiting
    site.answers["/mug.png"] = status(number, retry_after="100")
    site.files["/bowl.png"] = b"bowl"
    source = make(own_images=True, max_rest_s=120, tries=1)
    with pytest.raises((Stopped, ImageError)):
        source.read(mug)
    with pytest.raises(Stopped):
        source.read(f"{site.url}/bowl.png")
    assert round(waited[-1], -1) == 100
    assert len(site.requests) == 1


def test_a_host_that_wants_too_long_a_pause_is_asked_once_and_not_waited_for(site, mug, waiting):
    make, waited = waiting
    site.answers["/mug.png"] = status(503, retry_after=format_datetime(datetime.now(UTC) + timedelta(hours=1)))
    site.files["/bowl.png"] = b"bowl"
    source = make(own_images=True, max_rest_s=120, backoff_s=0, tries=1)
    for address in (mug, f"{site.url}/bowl.png", f"{site.url}/bowl.png"):
        assert reason(source, address) == "http-5xx"
    assert (len(site.requests), waited) == (1, [])
    assert source.notes()[0].startswith("127.0.0.1 rested for 3,")
    with pytest.raises(HostAway):
        make(own_images=True, max_rest_s=120, backoff_s=0, tries=9)._tried(lambda: source.read(mug))


def test_a_pace_that_robots_txt_asks_for_is_kept(site, mug, waiting):
    make, waited = waiting
    site.robots = "User-agent: *\nCrawl-delay: 10\n"
    source = make()
    assert source.read(mug).data == b"mug"
    with pytest.raises(Stopped):
        source.read(mug)
    assert [round(seconds) for seconds in waited] == [10]


def test_the_time_of_an_image_is_that_of_all_its_redirects(site, mug):
    def late(handler):
        handler.site.stopped.wait(0.3)
        handler.give(302, headers={"location": mug})

    site.answers["/late.png"] = late
    site.answers["/mug.png"] = lambda handler: (handler.site.stopped.wait(0.3), give_file(handler))
    assert reason(images(own_images=True, tries=1, total_s=0.5), f"{site.url}/late.png") == "timeout"


# Redirects, and networks that are not public


def test_redirects_are_followed_to_the_end_of_which_the_signature_is(site, mug):
    site.answers["/old.png"] = redirect("/older.png")
    site.answers["/older.png"] = redirect(mug)
    source = images()
    found = source.read(f"{site.url}/old.png")
    assert found == source.read(mug)
    assert isinstance(source.read(f"{site.url}/old.png", known=found.signature), Unchanged)


@pytest.mark.parametrize(
    "addresses", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "::1", "93.184.216.34 192.168.1.1", "::ffff:10.0.0.1"]
)
def test_a_host_with_any_address_that_is_not_public_is_not_asked(monkeypatch, addresses):
    resolve_to(monkeypatch, {"shop.example": addresses})
    connected = []
    monkeypatch.setattr("socket.create_connection", lambda address, _timeout: connected.append(address))
    with pytest.raises(ImageError, match=r"'shop\.example' is not a public address") as caught:
        images(allow_private=False).read("http://shop.example/a.png")
    assert caught.value.reason == "private-address"
    assert connected == []


def test_a_redirect_into_a_private_network_is_not_followed(monkeypatch, site):
    resolve_to(monkeypatch, {"public.example": "93.184.216.34", "inside.example": "10.0.0.5"})
    meant = connect_to(monkeypatch, site)
    site.answers["/mug.png"] = redirect("http://inside.example/mug.png")
    assert reason(images(allow_private=False), "http://public.example/mug.png") == "private-address"
    assert [request.path for request in site.requests] == ["/mug.png"]
    assert set(meant) == {("93.184.216.34", 80)}


def test_a_name_is_resolved_once_and_every_connection_goes_where_it_was_checked(monkeypatch, site):
    names = resolve_to(monkeypatch, {"shop.example": ["93.184.216.34", "127.0.0.1", "127.0.0.1"]})  # DNS rebinding
    connected = connect_to(monkeypatch, site)
    site.files["/mug.png"] = b"mug"
    site.answers["/last.png"] = web_site.cut_off
    source = images(allow_private=False, tries=2)
    assert source.read("http://shop.example/mug.png").data == b"mug"
    assert reason(source, "http://shop.example/last.png") == "broken-off"
    assert source.read("http://shop.example/mug.png").data == b"mug"
    assert names == ["shop.example"]
    assert set(connected) == {("93.184.216.34", 80)}
    assert len(connected) > 1
    assert site.requests[0].headers["host"] == "shop.example"


def test_the_next_address_of_a_host_is_tried_where_one_does_not_answer(monkeypatch, site):
    resolve_to(monkeypatch, {"shop.example": "2400::1 93.184.216.34"})
    connect_to(monkeypatch, site)
    site.files["/mug.png"] = b"mug"
    assert images(allow_private=False, tries=1).read("http://shop.example/mug.png").data == b"mug"


# robots.txt


def test_what_robots_txt_forbids_is_not_asked_for_unless_the_images_are_ones_own(site, mug):
    site.robots = "User-agent: *\nDisallow: /*.png$\nAllow: /free/*.png$\n\nUser-agent: other\nDisallow:\n"
    site.files["/free/mug.png"] = b"free"
    source = images()
    with pytest.raises(
        ImageError, match=r"forbids .*mug\.png; if the images are your own, say so with --own-images"
    ) as caught:
        source.read(mug)
    assert caught.value.reason == "robots"
    assert source.read(f"{site.url}/free/mug.png").data == b"free"
    assert source.read(f"{site.url}/mug.png?v=1").data == b"mug"  # which does not end with .png
    assert (site.robots_requests, len(site.requests)) == (1, 2)
    assert images(own_images=True).read(mug).data == b"mug"
    assert site.robots_requests == 1


def test_robots_txt_may_speak_of_visrec(site, mug):
    site.robots = "User-agent: *\nDisallow:\n\nUser-agent: visrec\nDisallow: /\n"
    assert reason(images(), mug) == "robots"


def test_it_is_read_once_however_many_images_wait_for_it(site, mug):
    site.robots = "User-agent: *\nDisallow: /private\n"
    source = images()
    with ThreadPoolExecutor(8) as pool:
        assert [found.data for found in pool.map(source.read, [mug] * 16)] == [b"mug"] * 16
    assert site.robots_requests == 1


def test_what_robots_txt_would_say_is_not_guessed_where_its_server_fails(site, mug, monkeypatch):
    monkeypatch.setattr("web_site.Site.robots", "", raising=False)
    site.answers["/mug.png"] = give_file
    source = images(tries=2)
    handler = web_site.Handler.do_GET

    def failing(self):
        if self.path == "/robots.txt":
            self.asked = web_site.Request(self.path, {})
            self.give(500)
        else:
            handler(self)

    monkeypatch.setattr(web_site.Handler, "do_GET", failing)
    with pytest.raises(ImageError, match=r"^before the images of 127\.0\.0\.1: .*robots\.txt answers 500") as caught:
        source.read(mug)
    assert caught.value.reason == "http-5xx"
    assert site.requests == []
    monkeypatch.setattr(web_site.Handler, "do_GET", handler)
    assert source.read(mug).data == b"mug"


# Whoever waits may be stopped


def test_what_waits_for_another_try_is_stopped(site, mug):
    site.answers["/mug.png"] = status(503, retry_after="20")
    source = images()
    source.should_stop = lambda: len(site.requests) == 1
    with pytest.raises(Stopped):
        source.read(mug)


# TLS, of the name and not of the address


@pytest.fixture
def secure_site(site, monkeypatch):
    """The site with a certificate of shop.example, which this process trusts, and the names that clients ask it for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    asked = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    connect_to(monkeypatch, site)
    resolve_to(monkeypatch, {"shop.example": "93.184.216.34", "other.example": "93.184.216.34"})
    site.files["/mug.png"] = b"mug"
    return asked


def test_a_pinned_connection_asks_for_the_name_and_checks_the_certificate_of_the_name(site, secure_site):
    source = images(allow_private=False, own_images=True)
    for _ in range(3):
        assert source.read("https://shop.example/mug.png").data == b"mug"
    assert secure_site == ["shop.example"]
    assert len({request.connection for request in site.requests}) == 1
    assert site.requests[0].headers["host"] == "shop.example"


def test_a_certificate_of_another_name_or_of_nobody_known_is_refused(site, secure_site, monkeypatch):
    with pytest.raises(ImageError, match=r"other\.example has no safe connection \(Hostname mismatch") as caught:
        images(allow_private=False, tries=1).read("https://other.example/mug.png")
    assert caught.value.reason == "refused"
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ImageError, match=r"shop\.example has no safe connection \(self.signed certificate"):
        images(allow_private=False, tries=1).read("https://shop.example/mug.png")
    assert site.requests == []
    assert secure_site == ["other.example", "shop.example"]
