"""Numbers as people write them: decimal commas, thousands separators, currency signs, a minus behind."""

import duckdb

_CORE = r"(?:^[-+(]?[.,])?\d[\d.,''\s\x{00a0}\x{202f}]*"
_SIGN = r"(?:\p{Sc}|[A-Z]{1,2}\$|[A-Z]{3}|kr|Kr|Rs|Fr|zł|Kč|lei)?[.]?"
_NUMBER = rf"^[(]?[-+]?\s*{_SIGN}\s*[-+]?\s*{_CORE}(?:[eE][-+]?\d+)?\s*{_SIGN}\s*[-)]?$"
_OPEN = r"^[1-9]\d{0,2}[.,]\d{3}$"
"""Could be thousands or a fraction: only other values of the file can tell."""


def digits_of(connection: duckdb.DuckDBPyConnection, name: str, texts: str) -> None:
    """Create the table `name` (text, digits, power, negative) of the distinct `text`s a query gives."""
    connection.execute(
        rf"""
        CREATE TABLE {name} AS
        SELECT text,
            CASE WHEN regexp_matches(trim(text), '{_NUMBER}')
                 THEN regexp_replace(regexp_extract(trim(text), '{_CORE}'), '[^0-9.,]', '', 'g')
            END AS digits,
            regexp_extract(text, '\d([eE][-+]?\d+)', 1) AS power,
            regexp_matches(trim(text), '^[^0-9]*-|-$|^[(].*[)]$') AS negative
        FROM (SELECT DISTINCT text FROM ({texts}) WHERE trim(text) <> '')
        """  # noqa: S608  names and patterns of ours
    )


def decimal_mark(connection: duckdb.DuckDBPyConnection, tables: list[str]) -> tuple[str, int]:
    """Return the file's decimal mark, by the values whose mark is beyond doubt, and how many commas spoke."""
    votes = {",": 0, ".": 0}
    for table in tables:
        for mark in votes:
            votes[mark] += _votes(connection, table, mark)
    return (",", votes[","]) if votes[","] > votes["."] else (".", 0)


def _votes(connection: duckdb.DuckDBPyConnection, table: str, mark: str) -> int:
    """Count values with one such mark, last of all marks, that cannot part thousands."""
    query = f"""
        SELECT count(*) FROM {table}
        WHERE length(digits) - length(replace(digits, $mark, '')) = 1
          AND NOT regexp_matches(digits, '{_OPEN}')
          AND strpos(digits, $mark) > greatest(strpos(digits, '.'), strpos(digits, ',')) - 1
        """  # noqa: S608  names and patterns of ours
    return int(connection.execute(query, {"mark": mark}).fetchall()[0][0])


def values_of(connection: duckdb.DuckDBPyConnection, name: str, mark: str) -> None:
    """Add `value` (DOUBLE, null where the text is no number) to a table made by `digits_of`."""
    other = "," if mark == "." else "."
    connection.execute(f"ALTER TABLE {name} ADD COLUMN value DOUBLE")
    connection.execute(
        f"""
        UPDATE {name} SET value = TRY_CAST(
            CASE
                -- both: the later one is the decimal mark
                WHEN strpos(digits, '.') > 0 AND strpos(digits, ',') > strpos(digits, '.')
                    THEN replace(replace(digits, '.', ''), ',', '.')
                WHEN strpos(digits, ',') > 0 AND strpos(digits, '.') > 0 THEN replace(digits, ',', '')
                -- several of a kind, or open and not the file's mark: thousands
                WHEN regexp_matches(digits, '[.].*[.]|,.*,')
                    OR (strpos(digits, '{other}') > 0 AND regexp_matches(digits, '{_OPEN}'))
                    THEN regexp_replace(digits, '[.,]', '', 'g')
                ELSE replace(digits, ',', '.')
            END || power AS DOUBLE) * CASE WHEN negative THEN -1 ELSE 1 END
        """  # noqa: S608  names and patterns of ours
    )
