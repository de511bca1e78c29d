"""A regular expression that is compiled when it is first used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

METHODS = ("fullmatch", "match", "search", "finditer", "findall", "sub", "split")

if TYPE_CHECKING:
    pattern = re.compile
else:

    class pattern:
        """As re.compile, later: whatever is first asked of it, the compiled one answers."""

        def __init__(self, text: str | bytes, flags: int = 0) -> None:
            self._given = text, flags

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            compiled = re.compile(*self._given)
            vars(self).update(
                (method, getattr(compiled, method))
                for method in (
                    "fullmatch",
                    "match",
                    "search",
                    "finditer",
                    "findall",
                    "sub",
                    "split",
                )
            )
            return getattr(compiled, name)
