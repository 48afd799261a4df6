"""Ten minutes of whatever the OpenAPI document allows and forbids: `python -m benchmarks.fuzz --home DIR`.

Schemathesis against the running service, on a copy of the state folder: no answer of 500 and above, none with
a status, media type or shape that the document does not show. Every route is tried, mounted ones included.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import SecretStr

from nextbest.settings import Settings
from serving.launch import start_background

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
KEY = "the key of the fuzzing"


def run(home: Path, seconds: int, port: int) -> int:
    """Return Schemathesis' exit code: 0 where nothing was found."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("bentoml", "checkpoints"))
        settings = Settings(
            home=copy, port=port, workers=1, secret_key=SecretStr(KEY), mlflow=Settings(home=home).mlflow_uri,
            key_rate=1e6, budget_ms=1000, rank_ahead=0,
        )  # fmt: skip
        with start_background(settings, home / "fuzz-service.log") as url:
            tried = subprocess.run(
                [
                    Path(sys.executable).with_name("st"), "run", f"{url}/openapi.json",
                    "-H", f"Authorization: Bearer {KEY}", "--checks", CHECKS, "--max-time", str(seconds),
                    "--continue-on-failure", "--warnings", "off", "--max-examples", "100000",
                    "--request-timeout", "120",  # erasing writes the lake and the online file anew
                ],
                cwd=folder,
            )  # fmt: skip
    return tried.returncode


def main() -> None:
    """Read the command line; exit with Schemathesis' code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path(".nextbest"))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--port", type=int, default=3098)
    asked = parser.parse_args()
    sys.exit(run(asked.home, asked.seconds, asked.port))


if __name__ == "__main__":
    main()
