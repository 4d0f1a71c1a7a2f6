"""The page and the API below a path of another server: through Debian's nginx, as a person uses them."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from browsing import Visits, cards
from tether import TETHER

expect = pytest.importorskip("playwright.sync_api").expect

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
TOKEN = "open sesame"
PATIENCE_S = 120  # a busy machine is slow
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port};
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        location /shop/ {{
            proxy_set_header X-Forwarded-Prefix /shop;
            proxy_pass http://127.0.0.1:{server}/;
        }}
        location /kept {{ proxy_pass http://127.0.0.1:{server}; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def proxy(serve, sample_store, tmp_path_factory):
    """The address of an nginx before a server whose root is /kept, unless the proxy says /shop."""
    if NGINX is None and not os.environ.get("CI"):
        pytest.skip("there is no nginx on this machine: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    behind = ("--root-path", "/kept", "--trusted-proxies", "127.0.0.1")
    with serve(sample_store, folder / "log", *behind, VISREC_TOKEN=TOKEN) as server:
        process, url = start(folder, server.port)
        try:
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def start(folder, server):
    """Start an nginx before the port *server*; return its process and URL."""
    user = "user root;" if os.geteuid() == 0 else ""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (folder / "conf").write_text(CONFIG.format(folder=folder, port=port, server=server, user=user))
        process = subprocess.Popen([*TETHER, NGINX, "-p", folder, "-c", folder / "conf"], stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        if answers(f"{url}/kept/healthz", process):
            return process, url
        assert "Address already in use" in (folder / "error.log").read_text()  # since the probe: another port, then


def answers(url, process):
    """Wait until there is an answer at *url*; return whether there was one before *process* ended."""
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < end, f"{url} does not answer"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url).close()
            return True
        time.sleep(0.05)
    return False


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer


@pytest.mark.parametrize("root", ["/shop", "/kept"])
def test_the_page_works_below_a_path(browser, proxy, root):
    visit = Visits(browser, proxy)
    page = visit(f"{root}/", ready="#login[open]")
    page.locator("#token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#login-error")).to_have_text("This is not the token.")
    page.locator("#token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#subtitle")).to_have_text("60 items")
    expect(page.locator(".card img").first).to_have_js_property("naturalWidth", 320)
    assert page.context.cookies()[0]["path"] == f"{root}/"
    page.locator(".card[data-id='bowl-02'] .open").click()
    page.wait_for_url(f"**{root}/?like=bowl-02")
    expect(page.locator("#title")).to_contain_text("Noodle bowl")
    page.locator(".card .score").first.click()
    expect(page.locator("#details .stage img")).to_have_js_property("complete", value=True)
    page.keyboard.press("Escape")
    page.locator("[data-home]").click()
    expect(page.locator("#title")).to_have_text("The catalog")
    assert page.url == f"{proxy}{root}/"
    page.reload()
    assert len(cards(page)) == 48
    page.goto(f"{proxy}{root}/page/product.html?item=mug-01")
    expect(page.locator("visrec-similar a")).to_have_count(8)
    visit.close()
    assert all("401" in text for text in visit.wrong)


def test_the_root_without_a_slash_leads_to_the_page(proxy):
    answer = get(f"{proxy}/kept?like=mug-01")
    assert (answer.url, answer.status) == (f"{proxy}/kept/?like=mug-01", 200)


def test_what_the_api_names_is_found_from_there(proxy):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{proxy}/shop/v1/similar?id=mug-01&k=1&cover=true", headers=bearer)
    with urllib.request.urlopen(request) as answer:
        (match,) = json.load(answer)["matches"]
    for name in ("thumbnail", "cover"):
        assert get(f"{proxy}/shop/{match[name]}?side=160", **bearer).headers["content-type"] == "image/jpeg"
    with urllib.request.urlopen(f"{proxy}/shop/openapi.json") as answer:
        assert json.load(answer)["servers"] == [{"url": "."}]
