"""The node's part of the tests runs without the collector's libraries, and is not empty."""

from node_part import TESTS, needs_collector


def test_what_imports_the_collector_itself_or_through_another_is_left_out() -> None:
    assert needs_collector(TESTS / "collector/test_ingest.py")
    assert needs_collector(TESTS / "imds_lab/test_matrix.py")


def test_the_tests_of_the_node_stay() -> None:
    for folder in ("agent", "checks", "facts", "host", "probes", "modules"):
        files = list((TESTS / folder).rglob("test_*.py"))
        assert [f for f in files if not needs_collector(f)], folder
