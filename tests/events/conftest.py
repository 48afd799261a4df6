"""A throw-away PostgreSQL, where one is installed, so that the log's tests run on both databases."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from features.events.log import EventLog


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, the newest version's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Return a function that makes an empty database and returns its URL; a server for the session."""
    bin_ = programs()
    if bin_ is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e .[dev]")
    folder = Path(tempfile.mkdtemp(prefix="nextbest-pg-"))
    user = "nobody" if os.getuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)
    data, numbers = folder / "data", count()

    def run(program: str, *arguments: object) -> None:
        command = [bin_ / program, *map(str, arguments)]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
        subprocess.run(
            command,
            check=True,
            user=user,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    def made() -> str:
        name = f"test{next(numbers)}"
        with closing(psycopg.connect(f"host={folder} user=tester dbname=postgres", autocommit=True)) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return f"postgresql://tester@/{name}?host={folder}"

    try:
        run("initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"  # the machine does not fail in a test
        run("pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
        yield made
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    """Return an empty event log, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'deep' / 'events.db'}"
    else:
        url = request.getfixturevalue("postgres")()
    with closing(EventLog(url)) as log:
        yield log
