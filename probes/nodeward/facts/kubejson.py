"""A kubelet's --config that is JSON, as it decodes one (sigs.k8s.io/json into a Go struct).

apimachinery's recognizer takes what begins with "{" for JSON, and nothing else then: YAML in braces
is an error. A number is not rounded to an integer here as on the way from YAML, and an object that
stands twice is read into the same struct: what the second does not name stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from nodeward.facts.errors import ParseError
from nodeward.facts.kubeyaml import BoundError, Document, Duplicate, parse_document


def is_json(raw: bytes) -> bool:
    return raw.lstrip().startswith(b"{")


def parse_object(raw: bytes, what: str) -> Document:
    """The same as parse_document of what begins with "{"; ParseError where it is no JSON."""
    again: list[str] = []

    def joined(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in pairs:
            if key in out:
                again.append(key)
                value = _onto(out[key], value)
            out[key] = value
        return out

    try:
        value = json.loads(raw, object_pairs_hook=joined, parse_constant=_refuse)
    except ValueError as exc:
        line = exc.lineno if isinstance(exc, json.JSONDecodeError) else 0
        raise ParseError(what, line, 'begins with "{" and is no JSON') from None
    except RecursionError:
        raise BoundError(what, 0, "nested too deep") from None
    try:  # for the lines alone: nearly all JSON is YAML
        return replace(parse_document(raw, what), value=value)
    except ParseError:
        return Document(value, {}, tuple(Duplicate((key,), 0) for key in again))


def _onto(old: Any, new: Any) -> Any:  # noqa: ANN401  JSON of the host
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{k: _onto(old[k], v) if k in old else v for k, v in new.items()}}
    return old if new is None else new


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)
