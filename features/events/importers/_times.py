"""Times as people write them. Whether the day or the month comes first is decided by the whole column."""

import duckdb

_DATE = r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})"
_DAY_NAME = r"^(?:[A-Za-z]{3,9},? +)?"
_SHAPES = {
    "seconds": r"^\d{9,10}([.]\d+)?$",
    "millis": r"^\d{12,13}([.]0+)?$",
    "micros": r"^\d{15,16}$",
    "compact": r"^(19|20)\d{6}([T ]?\d{4}(\d{2})?)?$",
    "iso": r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(\D|$)",
    "parts": rf"^{_DATE}(\D|$)",
    "day_name": rf"{_DAY_NAME}\d{{1,2}}(?:st|nd|rd|th)?[-. ]+[A-Za-z]{{3,9}}[-., ]+\d{{2,4}}(\D|$)",
    "name_day": rf"{_DAY_NAME}[A-Za-z]{{3,9}}[. ]+\d{{1,2}}(?:st|nd|rd|th)?,? +\d{{4}}(\D|$)",
    "unix": r"^[A-Za-z]{3} [A-Za-z]{3} +\d{1,2} .* \d{4}$",
}
_FIELDS = {
    "compact": (r"^(\d{4})(\d{2})(\d{2})", "y,m,d"),
    "iso": (r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", "y,m,d"),
    "day_name": (
        rf"{_DAY_NAME}(\d{{1,2}})(?:st|nd|rd|th)?[-. ]+([A-Za-z]{{3}})[A-Za-z]*[-., ]+(\d{{2,4}})",
        "d,m,y",
    ),
    "name_day": (
        rf"{_DAY_NAME}([A-Za-z]{{3}})[A-Za-z]*[. ]+(\d{{1,2}})(?:st|nd|rd|th)?,? +(\d{{4}})",
        "m,d,y",
    ),
    "unix": (r"^[A-Za-z]{3} ([A-Za-z]{3}) +(\d{1,2}) .* (\d{4})$", "m,d,y"),
}
_REST = {
    "compact": r"regexp_replace(text[9:], '^[T ]?(\d\d)(\d\d)(\d\d)?$', '\1:\2:0\3')",
    "unix": r"regexp_extract(text, '(\d{1,2}:\d{2}(?::\d{2})?(?: [A-Z]{3,4})?) \d{4}$', 1)",
}
"""What follows the date, where it is not simply the rest of the text."""
_CLOCK = (
    r"^[T,]?\s*(\d{1,2}):(\d{2})(?::0?(\d{1,2}(?:[.,]\d+)?)?)?\s*(?:([AaPp])[.]?[Mm][.]?)?"
    r"\s*(Z|z|UTC|GMT|[-+]\d{2}(?::?\d{2})?)?$"
)
_MONTHS = "['jan','feb','mar','apr','may','jun','jul','aug','sep','oct','nov','dec']"


def read_times(connection: duckdb.DuckDBPyConnection, name: str, texts: str) -> str | None:
    """Create the table `name` (text, moment): the times of the distinct texts a query gives as `text`.

    `moment` is null where a text is no time; a time without a zone is UTC. Returns what to tell of it.
    """
    shapes = " ".join(
        f"WHEN regexp_matches(text, '{pattern}') THEN '{shape}'" for shape, pattern in _SHAPES.items()
    )
    connection.execute(
        f"""
        CREATE TABLE shapes AS SELECT raw, text, CASE {shapes} END AS shape
        FROM (SELECT DISTINCT text AS raw, trim(text) AS text FROM ({texts}) WHERE trim(text) <> '')
        """  # noqa: S608  names and patterns of ours
    )
    day_first, note = _day_first(connection)
    connection.execute(_query(name, day_first))
    connection.execute("DROP TABLE shapes")
    return note


def _day_first(connection: duckdb.DuckDBPyConnection) -> tuple[bool, str | None]:
    fields = f"regexp_extract(text, '^{_DATE}', ['a', 'b', 'y'])"
    first, second, total, dots = connection.execute(
        f"""
        SELECT count(*) FILTER (CAST(f.a AS INT) > 12), count(*) FILTER (CAST(f.b AS INT) > 12), count(*),
            count(*) FILTER (contains(text, '.') AND NOT contains(text, '/'))
        FROM (SELECT text, {fields} AS f FROM shapes WHERE shape = 'parts')
        """  # noqa: S608  patterns of ours
    ).fetchall()[0]
    if not total:
        return False, None
    if first or second:
        order, shown = ("day first", first) if first > second else ("month first", second)
        against = min(first, second)
        odd = f", {against} the other way round" if against else ""
        return first > second, f"dates are {order}: {shown} of {total} distinct ones can only be that{odd}"
    order = "day first, as dates with dots are" if dots else "month first"
    return bool(dots), f"dates could be day or month first; taken as {order}"


def _query(name: str, day_first: bool) -> str:
    parts = "d,m,y" if day_first else "m,d,y"
    fields = {**_FIELDS, "parts": (f"^{_DATE}", parts)}
    dates = " ".join(f"WHEN '{shape}' THEN {_struct(shape, *how)}" for shape, how in fields.items())
    return rf"""
        CREATE TABLE {name} AS
        WITH cut AS (
            SELECT raw, text, shape, CASE shape {dates} END AS date FROM shapes
        ), clocked AS (
            SELECT *, trim(date.rest) = '' AS no_clock,
                regexp_extract(trim(date.rest), '{_CLOCK}', ['h', 'm', 's', 'half', 'zone']) AS clock
            FROM cut
        ), whole AS (
            SELECT raw, text, shape, clock.zone AS zone,
                CASE WHEN length(date.y) = 4 THEN date.y
                     WHEN TRY_CAST(date.y AS INT) < 69 THEN '20' || date.y ELSE '19' || date.y END AS y,
                CASE WHEN regexp_matches(date.m, '^[0-9]') THEN date.m
                     ELSE CAST(list_position({_MONTHS}, lower(date.m)) AS VARCHAR) END AS m,
                date.d AS d,
                CASE WHEN no_clock THEN 0
                     ELSE TRY_CAST(clock.h AS INT) % CASE clock.half WHEN '' THEN 100 ELSE 12 END
                        + CASE lower(clock.half) WHEN 'p' THEN 12 ELSE 0 END END AS h,
                CASE WHEN no_clock THEN '00' ELSE clock.m END
                    || ':' || CASE clock.s WHEN '' THEN '00' ELSE replace(clock.s, ',', '.') END AS ms
            FROM clocked
        ), stamped AS (
            SELECT raw, text, shape, zone,
                TRY_CAST(y || '-' || m || '-' || d || ' ' || h || ':' || ms AS TIMESTAMP) AS local
            FROM whole
        )
        SELECT raw AS text, CASE shape
            WHEN 'seconds' THEN to_timestamp(TRY_CAST(text AS DOUBLE))
            WHEN 'millis' THEN to_timestamp(TRY_CAST(text AS DOUBLE) / 1e3)
            WHEN 'micros' THEN to_timestamp(TRY_CAST(text AS DOUBLE) / 1e6)
            ELSE timezone('UTC', local) - {_OFFSET} END AS moment
        FROM stamped
        """  # noqa: S608  names and patterns of ours


_OFFSET = """to_minutes(CASE WHEN regexp_matches(zone, '^[-+]') THEN
        CASE zone[1] WHEN '-' THEN -1 ELSE 1 END
        * (60 * TRY_CAST(zone[2:3] AS INT) + COALESCE(TRY_CAST(ltrim(zone[4:], ':') AS INT), 0))
    ELSE 0 END)"""


def _struct(shape: str, pattern: str, fields: str) -> str:
    """Return SQL of a struct y, m, d, rest of a text of this shape."""
    order = fields.split(",")
    parts = [f"{part} := regexp_extract(text, '{pattern}', {order.index(part) + 1})" for part in "ymd"]
    rest = _REST.get(shape, f"regexp_replace(text, '{pattern}', '')")
    return f"struct_pack({', '.join(parts)}, rest := {rest})"
