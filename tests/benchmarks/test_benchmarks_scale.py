"""The page of scale agrees with the stored results."""

import json

from benchmarks.scale.__main__ import HERE
from benchmarks.scale.page import page


def test_the_committed_page_is_that_of_the_committed_results():
    results = json.loads((HERE / "scale.json").read_text())
    assert (HERE / "RESULTS.md").read_text() == page(results)
    assert not results["quick"]
    assert results["million"]["trials"] == 1_000_000
    assert results["million"]["peak"] < 2048  # MiB
