"""`python -m nodeward.agent [FILE]`: the resident process."""

from __future__ import annotations

import sys

from nodeward.agent.config import ConfigError, load
from nodeward.agent.log import ERROR, log
from nodeward.agent.resident import Resident


def main() -> int:
    """The exit status: 2 for a configuration that cannot be used."""
    file = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        config = load(file, must_exist=file is not None)
    except ConfigError as exc:
        for problem in exc.problems:
            log(ERROR, "configuration is wrong", problem=problem)
        return 2
    return Resident(config, file).run()


if __name__ == "__main__":
    sys.exit(main())
