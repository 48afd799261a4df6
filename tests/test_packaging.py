"""The four folders are top-level packages; a namesake elsewhere must not be imported in their place."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("package", ["features", "models", "training", "serving", "nextbest"])
def test_packages_come_from_this_repository(package: str, tmp_path: Path) -> None:
    code = f"import {package}; print({package}.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(found).resolve().is_relative_to(ROOT)


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "feast", "mlflow", "bentoml", "ibis", "pandas")
    code = f"import sys, nextbest.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_constraints_pin_torch_to_the_release() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
