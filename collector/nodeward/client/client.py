"""A collector asked over HTTPS. Blocks; holds one kept connection."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import requests

Params: TypeAlias = Sequence[tuple[str, str]]
TIMEOUT_S = (5.0, 60.0)
PATIENCE = 20
"""How often a request is sent again for which it was too early."""
LONGEST_WAIT_S = 10.0


class ClientError(Exception):
    """The collector could not be reached, or refused. `code` and `field` are its own words."""

    def __init__(
        self, message: str, *, code: str = "unreachable", field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


@dataclass(frozen=True)
class Where:
    """The collector: its URL, the CA file to trust (None: the system's), the asker's token."""

    url: str
    ca: str | None
    token: str


class Client:
    """Asks. Proxies and CA settings of the environment are not followed: `Where` says it all."""

    def __init__(self, where: Where) -> None:
        self._url = where.url.rstrip("/")
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.verify = where.ca if where.ca else True
        self._http.headers["Authorization"] = f"Bearer {where.token}"

    def get(self, path: str, params: Params = ()) -> Mapping[str, Any]:
        """One answer as JSON. Raises ClientError."""
        return self.call("GET", path, params=params)

    def post(self, path: str, data: object) -> Mapping[str, Any]:
        return self.call("POST", path, json=data)

    def call(self, method: str, path: str, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """The same of any method. Who asks too often is told to wait, and waits."""
        try:
            answer = self._http.request(method, self._url + path, timeout=TIMEOUT_S, **more)
            for _ in range(PATIENCE):
                if answer.status_code != 429:
                    break
                time.sleep(_after(answer))
                answer = self._http.request(method, self._url + path, timeout=TIMEOUT_S, **more)
            data = answer.json()
        except requests.RequestException as exc:
            raise ClientError(f"{self._url}: {_reason(exc)}") from None
        if not isinstance(data, dict):
            raise ClientError(f"{self._url}: not the answer of a collector")
        if not answer.ok:
            raise _refusal(data.get("error"), answer.status_code)
        return data

    def items(self, path: str, params: Params, most: int | None = None) -> Iterator[Any]:
        """All rows of a list, page by page."""
        cursor: str | None = None
        given = 0
        while most is None or given < most:
            more = [("cursor", cursor)] if cursor else []
            size = 500 if most is None else min(500, most - given)
            page = self.get(path, [*params, ("limit", str(size)), *more])
            yield from page["items"]
            given += len(page["items"])
            cursor = page.get("next")
            if not cursor:
                return


def _after(answer: requests.Response) -> float:
    """Seconds until it may be asked again."""
    told = answer.headers.get("Retry-After", "")
    return min(float(told), LONGEST_WAIT_S) if told.isascii() and told.isdigit() else 1.0


def _reason(exc: requests.RequestException) -> str:
    match exc:
        case requests.exceptions.SSLError():
            return "its certificate is not trusted (give the CA with --ca)"
        case requests.exceptions.JSONDecodeError():
            return "not the answer of a collector"
        case requests.exceptions.ConnectionError():
            return "cannot be reached"
        case requests.exceptions.Timeout():
            return "did not answer in time"
        case _:
            return str(exc)


def _refusal(error: object, status: int) -> ClientError:
    if not isinstance(error, dict):
        return ClientError(f"the collector answered {status}", code=str(status))
    field = error.get("field")
    message = str(error.get("message"))
    text = f"{field}: {message}" if field else message
    return ClientError(text, code=str(error.get("code")), field=field)
