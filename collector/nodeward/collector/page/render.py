"""Templates to HTML, with the headers that every page has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import jinja2
from jinja2.filters import do_urlencode
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from nodeward.collector.page.chain import chains, plain
from nodeward.collector.page.text import WHOLE, commands, legible, short

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "private, no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
GLYPH: Final = {
    "pass": "✓",
    "fail": "✗",
    "not-applicable": "–",
    "unknown": "?",
    "error": "!",
}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nodeward.collector.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {
        "glyph": glyph,
        "when": when,
        "chains": chains_of,
        "plain": plain,
        "short": short,
        "commands": commands,
        "whole": whole,
        "exact": escape,
        "urlencode": in_address,
    }
    return environment


def _shown(value: object) -> object:
    """Every value a template prints passes here; text that is already HTML does not change.

    What comes back to us, as the text in a form's field does, is printed `| exact`: it must not be
    cut or rewritten on its way.
    """
    if value is None:
        return ""
    return legible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def whole(text: str) -> Markup:
    """Legible to its end: what is told of a fix is of use only as a whole."""
    return escape(legible(text, WHOLE))


def in_address(text: str) -> Markup:
    """Percent-encoded: nothing is left that HTML acts on, and half an address leads elsewhere."""
    return Markup(do_urlencode(text))  # noqa: S704


def glyph(status: str) -> str:
    return GLYPH.get(status, "?")


def chains_of(finding: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return chains([finding])


def when(text: str | None) -> str:
    """An RFC 3339 time to the minute, or a day."""
    return f"{text[:10]} {text[11:16]}".rstrip() if text else "never"


def html(template: str, status: int = 200, /, **context: Any) -> HTMLResponse:  # noqa: ANN401
    page = _environment().get_template(template).render(**context)
    return HTMLResponse(page.encode("utf-8", "replace"), status, HEADERS)
