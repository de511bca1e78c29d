"""`python -m nodeward.agent.start CPU_S BYTES`: the worker's first lines, before its imports."""

from __future__ import annotations

import gc


def main() -> None:
    # The worker ends soon and is bounded anyway; collecting while it imports costs a fifth of it.
    gc.disable()
    from nodeward.agent.work import main as work

    work()


if __name__ == "__main__":
    main()
