"""What holds for every job found in training/jobs."""

import inspect

import pytest

from nextbest.settings import Settings
from training.base import Context, Job
from training.jobs import jobs_found

JOBS = jobs_found()
METHODS = [name for name, value in vars(Job).items() if callable(value) and not name.startswith("_")]


def test_jobs_are_found_by_their_files():
    assert list(JOBS) == sorted(JOBS)
    assert {"churn", "rfm", "value"} <= set(JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_says_what_it_is(name):
    job = JOBS[name]
    assert job.name == name == type(job).__module__.rsplit(".", 1)[1].replace("_", "-")
    assert job.metric
    assert isinstance(job.higher_is_better, bool)
    assert len(job.description) > 80, "the model card's first paragraph"
    assert inspect.getdoc(type(job))
    assert isinstance(getattr(job, "tolerance", 0.0), float)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_every_step_with_the_runners_arguments(name):
    for method in METHODS:
        wanted = list(inspect.signature(getattr(Job, method)).parameters)[1:]
        given = list(inspect.signature(getattr(JOBS[name], method)).parameters)
        assert given == wanted, method


@pytest.mark.parametrize("name", JOBS)
def test_options_have_a_meaning(name):
    for key, meaning in JOBS[name].options.items():
        assert key.isidentifier()
        assert meaning.strip()


@pytest.mark.parametrize("name", JOBS)
def test_an_empty_home_is_not_ready_and_says_what_to_run(name, tmp_path):
    from datetime import UTC, datetime

    from training.runner import train

    context = Context(Settings(home=tmp_path / "home"), datetime(2026, 1, 1, tzinfo=UTC), 7)
    (report,) = train([name], context)
    assert report.status == "skipped"
    assert "nextbest " in report.why
