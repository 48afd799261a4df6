"""The intake killed at random moments: nothing acknowledged is lost, nothing is there twice."""

from pathlib import Path

import pytest

from benchmarks.intake import killed


@pytest.mark.slow
def test_a_killed_intake_has_lost_and_doubled_nothing(tmp_path: Path) -> None:
    found = killed(tmp_path, kills=3, seed=7)
    assert found["acknowledged"] > 0
    assert (found["lost"], found["twice"], found["unknown"]) == (0, 0, 0)
