"""The collector as a process."""

from __future__ import annotations

import gc
import logging
import ssl

import uvicorn

from nodeward.collector.app import build_app
from nodeward.collector.archive import available
from nodeward.collector.center import Center
from nodeward.collector.db.migrate import migrate
from nodeward.collector.page import ROUTES as PAGE
from nodeward.collector.protocol import protocol_of
from nodeward.collector.settings import Settings, SettingsError

DRAIN_S = 15


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config = configure(settings)
    # A report is hundreds of objects in no cycle. Looking for cycles after each 700 new ones, over
    # all that was imported, took ten times as long as decoding.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    uvicorn.Server(config).run()


def configure(settings: Settings) -> uvicorn.Config:
    """The server for these settings, its schema brought up to date."""
    if settings.tls and not settings.cert_path.is_file():
        raise SettingsError(f"{settings.cert_path} is missing: run `nodeward collector init`")
    if settings.archive:
        available()
    center = Center(settings)
    migrate(center.engine)
    host, port = settings.address
    config = uvicorn.Config(
        build_app(center, PAGE),
        host=host,
        port=port,
        http=protocol_of(center),
        loop="uvloop",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=900,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_certfile=settings.cert_path if settings.tls else None,
        ssl_keyfile=settings.key_path if settings.tls else None,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config
