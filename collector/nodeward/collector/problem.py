"""What goes wrong in a request, in the one shape that every answer has."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

log = logging.getLogger(__name__)

AWAY: Final = (OperationalError, InterfaceError)
"""What a database that restarts or is out of reach raises; a wrong statement raises others."""


class Problem(Exception):
    """Answered as {"error": {"code", "message", "field"}} with `status`.

    `code` is stable and for programs; `field` is the path of the member at fault.
    `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = HTTPStatus(status)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def to_json(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"code": self.code, "message": self.message, "field": self.field}}


def bad(field: str, message: str) -> Problem:
    return Problem(400, "invalid", message, field=field)


def busy(message: str, seconds: int = 2) -> Problem:
    return Problem(503, "busy", message, retry_after=seconds)


def store_away(exc: DBAPIError) -> Problem:
    """The database is restarting, or out of reach: nothing was decided, so ask again."""
    log.error("the store did not answer: %s", exc.orig)
    return busy("the store does not answer now", 5)


def gone(what: str) -> Problem:
    """Also the answer for what the asker may not see: it must not learn that it exists."""
    return Problem(404, "not-found", f"there is no such {what}")
