"""`visrec serve`: an HTTP API and a web page over the index."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import options

_LOCAL = ("127.0.0.1", "localhost", "::1")

Host = Annotated[str, typer.Option(metavar="HOST", help="The address to listen on; 0.0.0.0 for all networks.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any port that is free.")]
Workers = Annotated[
    int, typer.Option(min=1, max=256, help="Processes, at best one for each core; they share the index.")
]
RulesFile = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="The rules of the shop (TOML), for every answer.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Answer only who brings the token in FILE, or in VISREC_TOKEN."),
]
Cors = Annotated[
    list[str] | None,
    typer.Option("--cors", metavar="ORIGIN", help="A web site whose pages may ask. May be repeated. [default: none]"),
]
AllowUrls = Annotated[
    bool, typer.Option("--allow-urls", help="Let queries name images by their public addresses, which are fetched.")
]
Preload = Annotated[
    bool, typer.Option("--preload", help="Load the encoder at the start, so that the first image need not wait.")
]
LogRequests = Annotated[
    bool, typer.Option("--log-requests", help="Log every request, not only what fails or takes over a second.")
]


def serve(
    store: options.Store = options.STORE,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    rules: RulesFile = None,
    token_file: TokenFile = None,
    cors: Cors = None,
    allow_urls: AllowUrls = False,
    preload: Preload = False,
    log_requests: LogRequests = False,
    weights: options.Weights = None,
    device: options.Device = "auto",
) -> None:
    """Serve similar items over HTTP, with a web page to try it; Ctrl-C stops it."""
    from vision_recs.recommend import Policy, read_policy
    from vision_recs.serve import Address, ServeOptions
    from vision_recs.serve import serve as run

    token = _token(token_file)
    configure_logging()
    if token is None and host not in _LOCAL:
        typer.echo(f"visrec: everybody who reaches {host} is answered; --token-file asks for a token", err=True)
    served = ServeOptions(
        store=store,
        policy=Policy() if rules is None else read_policy(rules),
        weights=weights,
        device=device,
        preload=preload,
        token=token,
        origins=tuple(_origin(origin) for origin in cors or []),
        allow_urls=allow_urls,
        log_requests=log_requests,
    )
    run(served, Address(host, port), workers=workers, configure=configure_logging, started=_say_where)


def configure_logging() -> None:
    """Log as lines of JSON on stderr."""
    from vision_recs.serve.logs import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("visrec").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what strangers send is answered, not logged


def _say_where(url: str) -> None:
    typer.echo(f"visrec serves {url} (Ctrl-C stops it)")
    sys.stdout.flush()


def _token(file: Path | None) -> str | None:
    """Return the token in *file* or VISREC_TOKEN: other users of the machine can read a command line."""
    import os

    if file is None:
        token = os.environ.get("VISREC_TOKEN")
        if token is not None and not token.strip():
            raise typer.BadParameter("VISREC_TOKEN is empty; unset it, or put a token into it")
    else:
        try:
            token = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read ({error})", param_hint="--token-file") from None
        if not token.strip():
            raise typer.BadParameter(f"{file} is empty; put a token into it", param_hint="--token-file")
    return None if token is None else token.strip()


def _origin(origin: str) -> str:
    """Return *origin* as a browser names it."""
    from urllib.parse import urlsplit

    parts = urlsplit(origin)
    if origin != "*" and (parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/")):
        raise typer.BadParameter(f"{origin!r} is no origin; write https://shop.example", param_hint="--cors")
    return origin.rstrip("/")
