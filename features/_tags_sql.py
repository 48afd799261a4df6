"""What features._tags_table asks DuckDB, of the views `known` and `lake` and the moment in `present`."""

TOLD = r"""
CREATE TABLE told AS
SELECT
    event_id, device, timezone,
    nullif(lower(regexp_extract(locale, '^[A-Za-z]{2,3}')), '') AS language,
    coalesce(source, nullif(regexp_extract(url, '[?&]utm_source=([^&#]+)', 1), '')) AS source,
    coalesce(medium, nullif(regexp_extract(url, '[?&]utm_medium=([^&#]+)', 1), '')) AS medium,
    coalesce(regexp_matches(url, '[?&](gclid|gbraid|wbraid|msclkid|dclid|ttclid)='), false) AS paid,
    if(ends_with('.' || referrer, '.' || host) OR ends_with('.' || host, '.' || referrer), NULL, referrer)
        AS referrer
FROM (
    SELECT
        event_id, url,
        properties ->> '$.context.locale' AS locale,
        properties ->> '$.context.device' AS device,
        properties ->> '$.context.timezone' AS timezone,
        properties ->> '$.context.source' AS source,
        properties ->> '$.context.medium' AS medium,
        coalesce(properties ->> '$.context.referrer', 
            nullif(regexp_extract(properties ->> '$.referrer', '^[a-z]+://(?:www[.])?([^/:?#]+)', 1), '')
        ) AS referrer,
        nullif(regexp_extract(url, '^[a-z]+://(?:www[.])?([^/:?#]+)', 1), '') AS host
    FROM lake
    WHERE url IS NOT NULL OR contains(properties, '"context":') OR contains(properties, '"referrer":')
)
"""
"""What single events tell; referrer: another's host than the page's."""

ZONES = """
CREATE TABLE zones AS
WITH told_most AS (
    SELECT contact_id, mode(told.timezone) AS timezone
    FROM known JOIN told USING (event_id) WHERE told.timezone IS NOT NULL GROUP BY contact_id
)
SELECT contact_id, coalesce(contacts.timezone, told_most.timezone) AS timezone
FROM contacts FULL JOIN told_most USING (contact_id)
WHERE coalesce(contacts.timezone, told_most.timezone) IN (SELECT name FROM pg_timezone_names())
"""

VISITS = """
CREATE TABLE visits AS
WITH web AS (
    SELECT
        contact_id, timestamp, seconds, event_id, source, medium, coalesce(paid, false) AS paid, referrer,
        if(event = 'message_clicked', coalesce(channel, 'email'), NULL) AS channel,
        seconds - lag(seconds) OVER (PARTITION BY contact_id ORDER BY seconds, event_id) AS silence
    FROM known LEFT JOIN told USING (event_id)
    WHERE event IN (SELECT unnest($web)) AND (told.event_id IS NOT NULL OR event = 'message_clicked')
)
SELECT *, silence IS NULL OR silence > $silence AS begins FROM web
WHERE begins OR paid OR coalesce(source, medium, referrer, channel) IS NOT NULL
"""
"""Arrivals: the first page after a silence, and whatever tells where somebody comes from."""

ENTRIES = """
SELECT
    contact_id,
    first(class ORDER BY seconds, event_id) AS source, min(timestamp) AS source_at,
    last(class ORDER BY seconds, event_id) AS last_source, max(timestamp) AS last_source_at,
    count(*) FILTER (begins) AS visits
FROM visits JOIN kinds ON
    visits.source IS NOT DISTINCT FROM kinds.source AND visits.medium IS NOT DISTINCT FROM kinds.medium
    AND visits.paid = kinds.paid AND visits.referrer IS NOT DISTINCT FROM kinds.referrer
    AND visits.channel IS NOT DISTINCT FROM kinds.channel
GROUP BY contact_id
"""

MODE = """
SELECT
    contact_id, first(value ORDER BY events DESC, value) AS {name},
    max(events) / sum(events) AS {name}_share, sum(events)::BIGINT AS {name}_evidence
FROM (
    SELECT contact_id, told.{name} AS value, count(*) AS events
    FROM known JOIN told USING (event_id) WHERE told.{name} IS NOT NULL GROUP BY ALL
)
GROUP BY contact_id
"""

INTERESTS = """
WITH held AS (
    SELECT
        contact_id, category, count(*) AS events,
        sum(weight * pow(2, (seconds - (SELECT epoch(now) FROM present)) / $half_life)) AS weight
    FROM known JOIN weights USING (event)
    WHERE category IS NOT NULL GROUP BY contact_id, category
    HAVING sum(weight * pow(2, (seconds - (SELECT epoch(now) FROM present)) / $half_life)) >= $faint
),
usual AS (SELECT category, median(weight) AS middle FROM held GROUP BY category),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY contact_id ORDER BY strength DESC, category) AS place
    FROM (SELECT *, weight / (weight + middle) AS strength FROM held JOIN usual USING (category))
)
SELECT
    contact_id, list(category ORDER BY place) AS interest_names,
    list(strength ORDER BY place) AS interest_strengths, list(events ORDER BY place) AS interest_evidence
FROM ranked WHERE place <= $most GROUP BY contact_id
"""

ACTIVE = """
WITH moments AS (
    SELECT DISTINCT
        contact_id, date_trunc('hour', timezone(coalesce(zones.timezone, 'UTC'), timestamp)) AS moment
    FROM known LEFT JOIN zones USING (contact_id) WHERE event IN (SELECT unnest($acts))
),
shared AS (
    SELECT contact_id, hour(moment) AS hour, isodow(moment) - 1 AS weekday,
        1 / count(*) OVER (PARTITION BY contact_id, moment::DATE) AS day
    FROM moments
)
SELECT contact_id, hour, weekday, count(*) AS hours, sum(day) AS days FROM shared GROUP BY ALL
"""
"""Hours in which somebody was there, and the days they belong to, by hour and weekday of local time."""
