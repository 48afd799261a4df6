"""Training: prepare, fit, compare on the hold-out, log, register; only a winner becomes champion.

A model wins where the paired bootstrap's lower bound of its improvement on the gate (the job's first
baseline) is above zero, and its own figure is better than the champion's. A job's `tolerance` (for tasks
without a learned competitor) moves both bounds down. All are measured on the same units of one hold-out.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from models.base import Model
from nextbest.errors import BadInput, NextbestError, NotReady
from training._runs import Run
from training._snapshots import left_out
from training._versions import registered
from training.base import Context, Evaluation, Job
from training.card import card
from training.jobs import jobs_found
from training.report import Measured, TrainingReport, measure
from training.tracking import Registry

log = logging.getLogger(__name__)
ALL = "all"
STEPS = ("prepare", "fit", "baselines", "evaluate", "compare", "log")


def train(
    names: Sequence[str], context: Context, jobs: Mapping[str, Job[Any]] | None = None
) -> list[TrainingReport]:
    """Run jobs by name, or all of them; one whose data are not ready is reported as skipped.

    Raises BadInput for an unknown job or option. With several jobs an error raised on purpose in one
    (its report says which) does not keep the others from running.
    """
    chosen = _chosen(names, jobs_found() if jobs is None else jobs)
    _check_options(chosen, context.options)
    return [_attempt(job, _for_job(job, context), alone=len(chosen) == 1) for job in chosen]


def _chosen(names: Sequence[str], known: Mapping[str, Job[Any]]) -> list[Job[Any]]:
    wanted = dict.fromkeys(name.replace("_", "-") for name in names)
    if not wanted or ALL in wanted:
        return list(known.values())
    for name in wanted:
        if name not in known:
            raise BadInput(f"no job {name!r}; known: {ALL}, {', '.join(known)}")
    return [known[name] for name in wanted]


def _check_options(chosen: Sequence[Job[Any]], options: Mapping[str, str]) -> None:
    known = {key: meaning for job in chosen for key, meaning in job.options.items()}
    for key in options:
        if key not in known:
            listed = "; ".join(f"{name}: {meaning}" for name, meaning in sorted(known.items())) or "none"
            raise BadInput(f"no option {key!r} for {', '.join(job.name for job in chosen)}; known: {listed}")


def _for_job(job: Job[Any], context: Context) -> Context:
    """Hand a job the options it knows: with `all`, one may be meant for another."""
    return replace(context, options={k: v for k, v in context.options.items() if k in job.options})


def _attempt(job: Job[Any], context: Context, alone: bool) -> TrainingReport:
    start = time.perf_counter()
    try:
        return _run(job, context, start)
    except NotReady as error:
        return _untrained(job, "skipped", str(error), start)
    except NextbestError as error:
        if alone:
            raise
        log.warning("%s failed", job.name, exc_info=True)
        return _untrained(job, "failed", str(error), start)


def _untrained(job: Job[Any], status: Any, why: str, start: float) -> TrainingReport:
    seconds = time.perf_counter() - start
    return TrainingReport(job.name, status, why, job.metric, job.higher_is_better, seconds=seconds)


def _run(job: Job[Any], context: Context, start: float) -> TrainingReport:
    steps = _Steps(job.name, context)
    registry = Registry(context.settings)
    data = steps("prepare", job.prepare, context)
    model: Model = steps("fit", job.fit, data, context)
    baselines = steps("baselines", job.baselines, data, context)
    contenders = [(model.kind, job.evaluate(model, data))]
    contenders += [(name, job.evaluate(baseline, data)) for name, baseline in baselines.items()]
    facts = {key: _plain(value) for key, value in job.facts(data).items()}
    facts["contacts_left_out"] = left_out(context.settings)
    rival = steps("evaluate", _rival, job, data, registry, contenders[0][1].units)
    report = steps("compare", _compared, job, contenders, rival, facts, context.seed)
    return steps("log", _kept, job, model, data, report, registry, context, start)


class _Steps:
    """Runs the steps and tells the front door which one it is."""

    def __init__(self, name: str, context: Context) -> None:
        self._name, self._progress, self._done = name, context.progress, 0

    def __call__(self, step: str, action: Any, *arguments: Any) -> Any:
        self._progress(f"train {self._name}: {step}", 0, 1)
        result = action(*arguments)
        self._progress(f"train {self._name}: {step}", 1, 1)
        return result


@dataclass(frozen=True)
class _Rival:
    """The champion on the same hold-out, or why it could not be measured."""

    name: str
    evaluation: Evaluation | None
    note: str = ""
    saw_until: str = ""


def _rival(job: Job[Any], data: Any, registry: Registry, units: int) -> _Rival | None:
    champion = registry.champion(job.name)
    if champion is None:
        return None
    version, tags = champion
    name = f"champion (version {version})"
    try:
        evaluation = job.evaluate(registry.load(job.name, version), data)
    except Exception as error:
        log.warning("the champion of %s cannot be measured", job.name, exc_info=True)
        return _Rival(name, None, f"{name} could not be measured: {type(error).__name__}: {error}")
    if evaluation.units != units:
        return _Rival(name, None, f"{name} answers {evaluation.units} units of {units}")
    return _Rival(name, evaluation, saw_until=tags.get("validation_until", ""))


def _compared(
    job: Job[Any],
    contenders: list[tuple[str, Evaluation]],
    rival: _Rival | None,
    facts: dict[str, Any],
    seed: int,
) -> TrainingReport:
    whole = list(contenders)
    measurable = rival is not None and rival.evaluation is not None
    if rival is not None and rival.evaluation is not None:
        whole.append((rival.name, rival.evaluation))
    measured = measure(whole, job.metric, job.higher_is_better, seed)
    ours, baselines = measured[0], measured[1 : len(contenders)]
    champion = measured[-1] if measurable else None
    won, why = _verdict(job, baselines, champion, rival, facts)
    return TrainingReport(
        job.name,
        "champion" if won else "registered",
        why,
        job.metric,
        job.higher_is_better,
        ours,
        baselines,
        champion,
        model=registered(job.name),
        won=won,
        simulated=bool(facts.get("simulated", False)),
        facts=facts,
    )


def _verdict(
    job: Job[Any],
    baselines: Sequence[Measured],
    champion: Measured | None,
    rival: _Rival | None,
    facts: Mapping[str, Any],
) -> tuple[bool, str]:
    """Say whether the new version becomes champion, and why."""
    margin = -float(getattr(job, "tolerance", 0.0))
    said = []
    if baselines:
        gate = baselines[0]
        passed = gate.improvement_low is not None and gate.improvement_low > margin
        surely = gate.improvement_low is not None and gate.improvement_low > 0
        word = "beats" if surely else "is near enough to" if passed else "does not beat"
        said.append(f"{word} {gate.name} on {job.metric} ({_gap(gate)})")
        if not passed:
            return False, said[0]
    if champion is not None:
        better = champion.improvement is not None and champion.improvement > margin
        said.append(f"{_standing(champion, better)} the {champion.name} ({_gap(champion)})")
        if rival is not None and rival.saw_until > str(facts.get("validation_until", rival.saw_until)):
            said.append("which has seen a part of this hold-out")
        return better, "; ".join(said)
    said.append(rival.note if rival is not None else "no champion before it")
    return True, "; ".join(said)


def _standing(champion: Measured, better: bool) -> str:
    if not better:
        return "no better than"
    return "better than" if (champion.improvement or 0.0) > 0 else "as good as"


def _gap(other: Measured) -> str:
    if other.improvement is None or other.improvement_low is None or other.improvement_high is None:
        return "undefined"
    return f"{other.improvement:+.4g}, 95 % {other.improvement_low:+.4g} to {other.improvement_high:+.4g}"


def _kept(
    job: Job[Any],
    model: Model,
    data: Any,
    report: TrainingReport,
    registry: Registry,
    context: Context,
    start: float,
) -> TrainingReport:
    """Log the run, register the version, write report and card beside it, and promote a winner."""
    tables = dict(job.tables(model, data))
    logged = registry.log(_as_run(job, model, data, report, tables, context), model)
    seconds = time.perf_counter() - start
    whole = replace(report, version=logged.version, run_id=logged.run_id, seconds=seconds)
    texts = {
        "report.json": json.dumps(asdict(whole), indent=1),
        "card.md": card(whole, job.description, tables),
    }
    registry.write_texts(logged.run_id, texts)
    if whole.won:
        registry.promote(job.name, logged.version, whole.why, context.now)
    return whole


def _as_run(
    job: Job[Any],
    model: Model,
    data: Any,
    report: TrainingReport,
    tables: Mapping[str, Any],
    context: Context,
) -> Run:
    catalogue = getattr(job, "catalogue", None)
    return Run(
        job=job.name,
        now=context.now,
        params={"kind": model.kind, "seed": context.seed, **_config(model), **context.options},
        metrics=_flat(report),
        tags=_tags(report, context),
        example=job.example(model, data),
        figures=job.figures(model, data),
        tables=tables,
        texts={"facts.json": json.dumps(report.facts, indent=1)},
        catalogue=catalogue(data) if callable(catalogue) else None,
    )


def _config(model: Model) -> dict[str, Any]:
    config = getattr(model, "config", None)
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}


def _flat(report: TrainingReport) -> dict[str, float]:
    """Return ours plainly, the others under their names, and every interval, without what is undefined."""
    found: dict[str, float | None] = {}
    for one in (report.ours, *report.baselines, report.champion):
        if one is None:
            continue
        prefix = "" if one is report.ours else "champion." if one is report.champion else f"{one.name}."
        found |= {f"{prefix}{name}": value for name, value in one.metrics.items()}
        found |= {f"{prefix}{report.metric}.low": one.low, f"{prefix}{report.metric}.high": one.high}
        found |= {
            f"{prefix}improvement": one.improvement,
            f"{prefix}improvement.low": one.improvement_low,
            f"{prefix}improvement.high": one.improvement_high,
        }
    return {name: value for name, value in found.items() if value is not None}


def _tags(report: TrainingReport, context: Context) -> dict[str, str]:
    value = report.ours.metrics.get(report.metric) if report.ours else None
    dates = {k: str(v) for k, v in report.facts.items() if k.endswith("_until")}
    return {
        "metric": report.metric,
        "value": "" if value is None else f"{value:.6g}",
        "simulated": str(report.simulated).lower(),
        "won": str(report.won).lower(),
        "seed": str(context.seed),
        **dates,
    }


def _plain(value: Any) -> Any:
    """Return JSON's types: numpy scalars as numbers, dates as text."""
    if hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None | list | dict) else str(value)
