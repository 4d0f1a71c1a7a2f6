"""`visrec serve`: an HTTP API and a web page over a store."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import options

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Host = Annotated[str, typer.Option(metavar="HOST", help="The address to listen on; 0.0.0.0 for all networks.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes any free port.")]
Workers = Annotated[
    int,
    typer.Option(min=1, max=256, help="Worker processes: one for each core is best. They share the index in memory."),
]
RulesFile = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="Rules (TOML) that apply to every answer.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Require the token in FILE, or in the variable VISREC_TOKEN."),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-hosts",
        metavar="HOST",
        help="A host name that clients may use, such as shop.example or *.shop.example; '*' allows all. May be "
        "repeated. [default: this machine's local names, or all if --host is not local]",
    ),
]
TrustedProxies = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxies",
        metavar="CIDR",
        help="Proxies, such as 10.0.0.0/8 or 127.0.0.1, whose header X-Forwarded-For says who the client is. Several "
        "with commas; may be repeated. [default: none]",
    ),
]
RootPath = Annotated[
    str,
    typer.Option(
        "--root-path",
        metavar="PATH",
        help="The path below which a proxy shows this server, such as /shop; X-Forwarded-Prefix of a trusted proxy "
        "says it, too.",
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait for a store that is not there yet: /healthz answers meanwhile, and /readyz says what is missing.",
    ),
]
Cors = Annotated[
    list[str] | None,
    typer.Option(
        "--cors", metavar="ORIGIN", help="A web site whose pages may call the API. May be repeated. [default: none]"
    ),
]
AllowUrls = Annotated[
    bool, typer.Option("--allow-urls", help="Accept queries with public URLs of images, which the server downloads.")
]
Preload = Annotated[
    bool, typer.Option("--preload", help="Load the encoder at the start, so that the first image is not slow.")
]
LogRequests = Annotated[
    bool, typer.Option("--log-requests", help="Log every request, not only those that fail or take over a second.")
]

Events = Annotated[
    Path | None,
    typer.Option(
        "--events",
        envvar="VISREC_EVENTS",
        metavar="DIR",
        help="Keep answers and events of shoppers in this folder, to learn from.",
    ),
]
EventsKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--events-key-file",
        metavar="FILE",
        help="A key with which pages of the shop may send events and nothing else; or put it into VISREC_EVENTS_KEY.",
    ),
]
CandidateDir = Annotated[
    Path | None,
    typer.Option(
        "--candidate",
        metavar="DIR",
        help="Another store, of another encoder say, that a share of the shoppers is answered from; see `visrec "
        "candidate`. Needs --events.",
    ),
]
Share = Annotated[
    float | None,
    typer.Option(
        "--share", min=0.0, max=1.0, metavar="X", help="The share of the shoppers for the candidate. [default: 0.1]"
    ),
]
ImagesBelow = Annotated[
    str | None,
    typer.Option(
        "--images-below",
        metavar="DIR",
        help="Show no file from outside of this folder; '/' shows all. Changes name images in buckets only below it: "
        "s3://bucket/photos. [default: the folder of the catalog]",
    ),
]


def serve(
    store: options.Stores = None,
    engine: options.Engine = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    rules: RulesFile = None,
    events: Events = None,
    events_key_file: EventsKeyFile = None,
    candidate: CandidateDir = None,
    share: Share = None,
    token_file: TokenFile = None,
    allowed_hosts: AllowedHosts = None,
    trusted_proxies: TrustedProxies = None,
    root_path: RootPath = "",
    cors: Cors = None,
    allow_urls: AllowUrls = False,
    preload: Preload = False,
    log_requests: LogRequests = False,
    wait: Wait = False,
    images_below: ImagesBelow = None,
    allow_private_addresses: options.AllowPrivateAddresses = False,
    weights: options.Weights = None,
    device: options.Device = "auto",
) -> None:
    """Serve similar items over HTTP, with a web page to try it.

    Ctrl-C stops the server.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the server does it: Linux ignores it for process 1
    from vision_recs.recommend import Policy, read_policy
    from vision_recs.serve import Address, ServeOptions
    from vision_recs.serve import serve as run
    from vision_recs.serve.following import followed
    from vision_recs.serve.logs import configure_logging
    from vision_recs.serve.options import DEFAULT_SHARE

    token = _secret(token_file, "VISREC_TOKEN", "--token-file")
    if candidate is not None and events is None:
        raise typer.BadParameter("needs --events, where it is compared", param_hint="--candidate")
    if candidate is not None and engine is not None:
        why = "could not be promoted in the place of an engine; leave out --engine, or unset VISREC_ENGINE"
        raise typer.BadParameter(why, param_hint="--candidate")
    if share is not None and candidate is None:
        raise typer.BadParameter("needs --candidate, which it is the share of", param_hint="--share")
    events_key = _secret(events_key_file, "VISREC_EVENTS_KEY", "--events-key-file")
    configure_logging()
    if token is None and host not in _LOOPBACK:
        typer.echo(
            f"visrec: everybody who can reach {host} can use this server; --token-file requires a token", err=True
        )
    served = ServeOptions(
        store=options.named_stores(store),
        engine=engine,
        policy=Policy() if rules is None else read_policy(rules),
        weights=weights,
        device=device,
        preload=preload,
        events=events,
        events_key=events_key,
        candidate=candidate,
        candidate_share=DEFAULT_SHARE if share is None else share,
        token=token,
        allowed_hosts=tuple(allowed_hosts or (_LOOPBACK if host in _LOOPBACK else ())),
        trusted_proxies=_networks(trusted_proxies or []),
        root_path=_root_path(root_path),
        cors_origins=tuple(_origin(origin) for origin in cors or []),
        allow_urls=allow_urls,
        log_requests=log_requests,
        images_below=images_below,
        allow_private_addresses=allow_private_addresses,
    )
    address = Address(host, port)
    with followed(served.store, configure_logging, waits=wait) as stores:
        served = replace(served, store=stores)
        if wait:
            from vision_recs.serve.waiting import wait_for_store

            address = wait_for_store(served, address, waiting=_print_waiting)
        run(served, address, workers=workers, configure=configure_logging, started=_print_url)


def _print_url(url: str) -> None:
    typer.echo(f"visrec serves {url} (Ctrl-C stops it)")
    sys.stdout.flush()


def _print_waiting(url: str, error: Exception) -> None:
    typer.echo(f"visrec: waiting at {url}: {error}", err=True)


def _root_path(text: str) -> str:
    """Return the path below which a proxy shows the server."""
    from vision_recs.serve.proxies import root_path

    try:
        return root_path(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--root-path") from None


def _secret(file: Path | None, variable: str, option: str) -> str | None:
    """Return the secret in *file* or in the *variable*; a flag would show it to other users of this machine."""
    import os

    from vision_recs.small_files import text_of

    if file is None:
        secret = os.environ.get(variable)
        if secret is not None and not secret.strip():
            raise typer.BadParameter(f"{variable} is empty; unset it, or put a secret into it")
    else:
        try:
            secret = text_of(file)
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read ({error})", param_hint=option) from None
        if not secret.strip():
            raise typer.BadParameter(f"{file} is empty; put a secret into it", param_hint=option)
    return None if secret is None else secret.strip()


def _networks(options: list[str]) -> tuple[str, ...]:
    """Return the networks that *options* list."""
    from vision_recs.serve.proxies import TrustedProxies

    names = tuple(name.strip() for option in options for name in option.split(","))
    try:
        TrustedProxies(names)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--trusted-proxies") from None
    return names


def _origin(origin: str) -> str:
    """Return *origin* in the form in which a browser sends it."""
    from urllib.parse import urlsplit

    parts = urlsplit(origin)
    if origin != "*" and (parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/")):
        raise typer.BadParameter(f"{origin!r} is not an origin; write https://shop.example", param_hint="--cors")
    return origin.rstrip("/")
