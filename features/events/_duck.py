"""DuckDB as it is used for the lake: in memory, bounded, spilling into a given folder, times in UTC."""

from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

MEMORY = "1200MB"


def connect(spill: Path, database: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """Return a connection that may use MEMORY and then the folder `spill`; tables go into `database`."""
    options = {"memory_limit": MEMORY, "temp_directory": str(spill), "preserve_insertion_order": "false"}
    connection = duckdb.connect(database, config=options)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    with suppress(duckdb.InvalidInputException):  # in a notebook without widgets it has no bar to switch off
        connection.execute("SET enable_progress_bar = false")
    return connection


def quoted(text: object) -> str:
    """Return a SQL string literal; for file names, which statements that copy do not take as parameters."""
    return "'" + str(text).replace("'", "''") + "'"


def select(columns: str, files: list[Path]) -> str:
    """Return the SQL that selects columns of Parquet files."""
    return f"SELECT {columns} FROM {parquet(files)}"  # noqa: S608  names of ours, quoted


def parquet(files: list[Path]) -> str:
    """Return the SQL that reads Parquet files by name."""
    return f"read_parquet([{', '.join(quoted(f) for f in files)}])"


_SQL_TYPES = {"string": "VARCHAR", "double": "DOUBLE"}


def nothing(schema: pa.Schema) -> str:
    """Return the SQL of a table with these columns and no rows."""
    columns = (f"CAST(NULL AS {_SQL_TYPES.get(str(f.type), 'TIMESTAMPTZ')}) AS {f.name}" for f in schema)
    return f"SELECT {', '.join(columns)} WHERE false"
