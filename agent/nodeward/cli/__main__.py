"""`python -m nodeward.cli`."""

from nodeward.cli.main import main

main()
