"""The collector as a process."""

from __future__ import annotations

import gc
import signal
import ssl
from collections.abc import Callable

import uvicorn

from nodeward.collector import logs
from nodeward.collector.app import build_app
from nodeward.collector.archive import available
from nodeward.collector.center import Center
from nodeward.collector.db.migrate import migrate
from nodeward.collector.page import ROUTES as PAGE
from nodeward.collector.page.visit import lost
from nodeward.collector.protocol import protocol_of
from nodeward.collector.reload import Reload
from nodeward.collector.settings import Settings, SettingsError

DRAIN_S = 15


def serve(settings: Settings, again: Callable[[], Settings] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun. `again` reads the settings anew,
    on SIGHUP."""
    logs.to_stderr()
    config = configure(settings, again)
    signal.signal(signal.SIGHUP, lambda *_: _center(config).reload())
    # A report is hundreds of objects in no cycle. Looking for cycles after each 700 new ones, over
    # all that was imported, took ten times as long as decoding.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    uvicorn.Server(config).run()


def _center(config: uvicorn.Config) -> Center:
    center: Center = config.loaded_app.state.center
    return center


def configure(settings: Settings, again: Callable[[], Settings] | None = None) -> uvicorn.Config:
    """The server for these settings, its schema brought up to date."""
    if settings.tls and not settings.cert_path.is_file():
        raise SettingsError(f"{settings.cert_path} is missing: run `nodeward collector init`")
    if settings.archive:
        available()
    center = Center(settings)
    migrate(center.engine)
    host, port = settings.address
    config = uvicorn.Config(
        build_app(center, PAGE, lost),
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
    reload = Reload(center, config.ssl, again)
    center.watch, center.reload = reload.watch, reload.ask
    return config
