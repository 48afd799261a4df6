"""What is held of a person, for them to have: the stores' rows, and what follows from them (GDPR 15, 20)."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.events._files import written_aside
from features.held import held
from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.engine import Engine
from serving.schemas import Answer

Rows = list[dict[str, Any]]


class ContactExport(Answer):
    """Everything held of a person, machine-readable."""

    contact_id: str
    """The id that stands for the person."""
    exported_at: datetime
    ids: list[str]
    """All contact ids of the person; everything here is of all of them."""
    anonymous_ids: list[str]
    traits: Rows
    """Traits, consents, reach and time zone, as recorded for each id."""
    identities: Rows
    events: Rows
    """As stored, oldest first; what is null is left out."""
    decisions: Rows
    """Answers given about the person, with the propensity of each."""
    triggers: Rows
    stored: dict[str, Any]
    """The feature store's row: recent and repeated items, categories, channels, steps."""
    profile: dict[str, Any]
    """Features, segment, lifecycle and predictions as of the export, by the profile's names."""
    tags: dict[str, Any] | None
    left_out: str | None
    """Why training leaves the person out: erased (before these data came), objected; null: it does not."""


def export(engine: Engine, contact_id: str, now: datetime) -> ContactExport | None:
    """Return what is held of a person by any of their ids; None: nothing."""
    engine.decisions.flush()
    found = held(engine.settings, engine.log, contact_id)
    if found is None:
        return None
    profile = engine.profiler.of([found["contact_id"]], now).iloc[0].to_dict()
    return ContactExport(exported_at=now, profile=_known(profile), **found)


def write_export(settings: Settings, contact_id: str, out: Path) -> dict[str, int]:
    """Write a person's export as JSON; returns the entries of each kind. Raises BadInput for a stranger."""
    engine = Engine(settings, settings.present)
    try:
        found = export(engine, contact_id, engine.now())
    finally:
        engine.close()
    if found is None:
        raise BadInput(f"nothing is known of a contact '{contact_id}'")
    told = found.model_dump(mode="json")
    with written_aside(out.resolve()) as aside:
        aside.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
    return {name: len(value) for name, value in told.items() if isinstance(value, list | dict)}


def _known(profile: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what is known of a profile, as JSON has it."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in profile.items()
        if not pd.isna(value)
    }
