"""The pages of docs/ say what the program does."""

from pathlib import Path

from nodeward.checks import catalog
from nodeward.model.explain import pages

FOLDER = Path(__file__).parents[1] / "docs" / "checks"


def test_the_pages_of_the_checks_are_those_of_the_catalogue() -> None:
    wanted = pages(list(catalog().values()))
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    stale = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    assert not stale, "run script/docs"
