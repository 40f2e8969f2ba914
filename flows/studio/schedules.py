"""Seasons dubbed by the clock: each is one schedule of the deployment `dub-season`, named after the season, with the season's own parameters."""

import flows.environment  # noqa: F401  # isort: skip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from pydantic import AwareDatetime, ValidationError

from flows.episode.make_request import id_of_film
from flows.studio.server import studio_server
from infra.errors import InputError
from infra.storage_keys import redact
from tasks.types import Record, SeasonRequest

DEPLOYMENT = "dub-season/dub-season"


class Scheduled(Record):
    """One season and its clock."""

    season_id: str
    manifest: str
    out: str
    cron: str
    timezone: str
    is_active: bool
    next_run: AwareDatetime | None = None


class Schedules(Record):
    """All of them; done says what the command did."""

    schedules: tuple[Scheduled, ...]
    done: str = ""


def add_schedule(manifest: str, out: str, cron: str, timezone: str, season_id: str | None, changes: Sequence[str]) -> Schedules:
    """Have a season dubbed by the clock; a season of the same id gets the new clock and parameters. Raises InputError."""
    request = season_request(manifest, out, season_id, changes)
    try:
        clock = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        raise InputError(
            f"--cron {cron!r} --timezone {timezone}: {error.errors()[0]['msg']}. Write five fields, as in '0 22 * * 5': Fridays at ten."
        ) from None
    with studio_server() as client:
        deployment = _deployment(client)
        known = [schedule for schedule in deployment.schedules if schedule.slug == request.season_id]
        for schedule in known:
            client.delete_deployment_schedule(deployment.id, _id(schedule))
        parameters = {"request": request.model_dump(mode="json", exclude_unset=True)}
        wanted = DeploymentScheduleCreate(schedule=clock, active=True, parameters=parameters, slug=request.season_id)
        client.create_deployment_schedules(deployment.id, [wanted])
        return Schedules(schedules=_all(client), done=f"{'changed' if known else 'added'} {request.season_id}")


def list_schedules() -> Schedules:
    """All seasons that are dubbed by the clock. Raises InputError where nothing is deployed."""
    with studio_server() as client:
        return Schedules(schedules=_all(client))


def remove_schedule(season_id: str) -> Schedules:
    """A season is no longer started by the clock; a run that has begun goes on. Raises InputError."""
    with studio_server() as client:
        deployment = _deployment(client)
        known = [schedule for schedule in deployment.schedules if schedule.slug == season_id]
        if not known:
            raise InputError(f"No season {season_id!r} is scheduled. See: dub schedule list")
        for schedule in known:
            client.delete_deployment_schedule(deployment.id, _id(schedule))
        return Schedules(schedules=_all(client), done=f"removed {season_id}")


def season_request(manifest: str, out: str, season_id: str | None, changes: Sequence[str]) -> SeasonRequest:
    """What each run is asked for. changes: FIELD=VALUE of SeasonRequest. Local paths become absolute: workers have folders of their own."""
    fields: dict[str, object] = {"on": "workers"}
    for text in changes:
        field, equals, value = text.partition("=")
        if not (equals and field in SeasonRequest.model_fields):
            raise InputError(f"--set {redact(text)}: write FIELD=VALUE with one of {', '.join(SeasonRequest.model_fields)}.")
        fields[field] = value
    fields |= {"manifest": _absolute(manifest), "out": _absolute(out), "season_id": season_id or id_of_film(manifest)}
    try:
        return SeasonRequest.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors(include_input=False))
        raise InputError(f"That season cannot be asked for. {wrong}.") from None


def _absolute(place: str) -> str:
    return place if "://" in place or place.startswith("file:") else str(Path(place).expanduser().absolute())


def _deployment(client: SyncPrefectClient) -> DeploymentResponse:
    try:
        return client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise InputError(f"Prefect's server has no deployment {DEPLOYMENT}. Make it: dub deploy") from None


def _all(client: SyncPrefectClient) -> tuple[Scheduled, ...]:
    deployment = _deployment(client)
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        limit=200,
    )
    return tuple(_told(schedule, runs) for schedule in deployment.schedules if schedule.parameters.get("request"))


def _told(schedule: DeploymentSchedule, runs: Sequence[FlowRun]) -> Scheduled:
    request, clock = schedule.parameters["request"], cast(CronSchedule, schedule.schedule)
    own = (run.next_scheduled_start_time for run in runs if run.created_by is not None and run.created_by.id == schedule.id)
    coming = sorted(moment for moment in own if moment is not None and moment > datetime.now(UTC))
    return Scheduled(
        season_id=schedule.slug or request["season_id"],
        manifest=request["manifest"],
        out=request["out"],
        cron=getattr(clock, "cron", str(clock)),
        timezone=clock.timezone or "UTC",
        is_active=schedule.active,
        next_run=coming[0] if coming else None,
    )


def _id(schedule: DeploymentSchedule) -> UUID:
    assert schedule.id is not None
    return schedule.id


def show_schedules(result: Schedules) -> None:
    """One season a line."""
    if result.done:
        print(result.done)
    for season in result.schedules:
        coming = f"next {season.next_run:%Y-%m-%d %H:%M} UTC" if season.next_run else "next run not planned yet"
        print(f"{season.season_id:<24} {season.cron:<16} {season.timezone:<16} {coming if season.is_active else 'paused'}")
        print(f"{'':<24} {redact(season.manifest)} -> {redact(season.out)}")
    if not result.schedules:
        print("no season is scheduled")
