"""Google Cloud Storage and Azure, as they document their answers: signatures of lists are those of reads."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.catalog.image_files import image_bytes
from vision_recs.remote.buckets import BucketImages
from vision_recs.remote.options import RemoteOptions
from vision_recs.types import Unchanged

pytest.importorskip("obstore")
FILES = {"photos/a.png": b"one", "photos/mugs/b.png": b"two"}
CHANGED = "Mon, 12 Jan 2026 08:00:00 GMT"


def azure_list(prefix):
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Creation-Time>{CHANGED}</Creation-Time><Last-Modified>{CHANGED}"
        f"</Last-Modified><Etag>0x8D{len(name)}</Etag><Content-Length>{len(data)}</Content-Length>"
        "<Content-Type>image/png</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>"
        for name, data in FILES.items()
        if name.startswith(prefix)
    )
    results = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
    return f'<?xml version="1.0" encoding="utf-8"?>{results}'


def google_list(prefix):
    contents = "".join(
        f"<Contents><Key>{name}</Key><Generation>17</Generation><LastModified>2026-01-12T08:00:00.000Z</LastModified>"
        f'<ETag>"0x8D{len(name)}"</ETag><Size>{len(data)}</Size></Contents>'
        for name, data in FILES.items()
        if name.startswith(prefix)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://doc.s3.amazonaws.com/2006-03-01">'
        f"<Name>shop</Name><Prefix>{prefix}</Prefix><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    )


class Cloud(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = urlsplit(self.path)
        options = parse_qs(address.query)
        name = unquote(address.path).partition("/shop/")[2]
        self.server.requests.append((self.command, name or "list"))
        prefix = options.get("prefix", [""])[0]
        headers = {"Last-Modified": CHANGED}
        if not name:
            status, body = 200, (azure_list if "comp" in options else google_list)(prefix).encode()
        elif name not in FILES:
            status, body = 404, b""
        else:
            headers["ETag"] = f'"0x8D{len(name)}"'
            is_known = self.headers["If-None-Match"] == headers["ETag"]
            status, body = (304, b"") if is_known else (200, FILES[name])
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def cloud():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    server.daemon_threads = True
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["gs", "az"])
def address(request, cloud, monkeypatch):
    endpoint = f"http://127.0.0.1:{cloud.server_port}"
    monkeypatch.setenv("GOOGLE_BASE_URL", endpoint)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_ENDPOINT", endpoint)
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    return f"{request.param}://shop"


def test_signatures_of_a_list_are_those_of_reads(address, cloud):
    images = BucketImages(RemoteOptions(tries=1))
    references = [f"{address}/{name}" for name in FILES]
    found = images.signatures(references)
    assert found == [f"etag:0x8D{len(name)}" for name in FILES]
    assert cloud.requests == [("GET", "list")]
    fresh = BucketImages(RemoteOptions(tries=1))
    assert [fresh.read(reference) for reference in references] == list(zip(FILES.values(), found, strict=True))
    assert isinstance(fresh.read(references[0], known=found[0]), Unchanged)


def test_a_folder_is_a_catalog(address):
    catalog = open_catalog(f"{address}/photos/", CatalogOptions(remote=RemoteOptions(tries=1)))
    assert [(item.id, image_bytes(catalog.images, item.images[0])) for item in catalog] == [
        ("a", b"one"),
        ("mugs/b", b"two"),
    ]
