"""What `dub season` does and prints: the flow dub-season with its table on the screen, or an estimate of it."""

import sys
from pathlib import Path

from pydantic import ValidationError

from flows.episode.make_request import all_of, id_of_film
from flows.run.forecast import in_words
from infra import settings
from infra.errors import InputError
from infra.storage_keys import redact
from tasks.plain_text import one_line
from tasks.types import SeasonEstimate, SeasonRequest, SeasonResult

DONE, OUR_TROUBLE, YOUR_INPUT = 0, 1, 2
MOST_SHOWN = 40


def make_season_request(manifest: str, **fields: object) -> SeasonRequest:
    """The request as a record. Raises one InputError with all that is wrong."""
    if fields.get("season_id") is None:
        fields["season_id"] = id_of_film(manifest)
    try:
        return SeasonRequest.model_validate({"manifest": manifest, **fields})
    except ValidationError as error:
        options = {"season_id": "--id", "num_workers": "--workers", "task_runner": "--runner", "machine_rate_per_hour": "--rate"}
        problems = []
        for item in error.errors(include_url=False, include_context=False):
            name = str(item["loc"][0])
            shown = f" {redact(item['input'])}" if isinstance(item["input"], str) else ""
            rule = "a season's id is small letters, digits and dashes, at most 64" if name == "season_id" else item["msg"]
            problems.append(f"{options.get(name, '--' + name.replace('_', '-'))}{shown}: {rule}.")
        raise all_of(problems) from None


def run_season(request: SeasonRequest) -> SeasonResult:
    """Run the flow, watched on stderr, logged in the work folder."""
    settings.apply_environment()
    from flows.commands.run_command import watched
    from flows.run.work_folder import work_folder_of
    from flows.season.display import open_season_display

    request = _settle_where(request)

    def check() -> None:
        from flows.season.read import read_season

        read_season(request)  # the flow does it too; here it spares the user the wait for the server

    def work() -> SeasonResult:
        from flows.dub_season import dub_season

        return dub_season(request)

    display = open_season_display(sys.stderr)
    return watched(f"season-{request.season_id}", work_folder_of(request), request.num_workers, check, work, display)


def run_estimate(request: SeasonRequest, rates: str | None) -> SeasonEstimate:
    """Say what the season would take, by this machine's stage times or those in the folder `rates`."""
    settings.apply_environment()
    from flows.season.estimate import estimate_season

    return estimate_season(request, read_rates_folder(rates))


def _settle_where(request: SeasonRequest) -> SeasonRequest:
    """Workers are reached by a Prefect server of the user's own; without one the work is done here."""
    from prefect.settings import PREFECT_API_URL

    if request.on == "here" or PREFECT_API_URL.value():
        return request
    print("dub: no Prefect server is named (PREFECT_API_URL), so there are no workers: the season is dubbed in this process.", file=sys.stderr)
    return request.model_copy(update={"on": "here"})


def exit_code_of(result: SeasonResult) -> int:
    """0: all is done, or waits for its files; 1: something failed by our trouble; 2: what failed needs another input."""
    troubles = {row.trouble for row in result.rows if row.state == "failed"}
    return OUR_TROUBLE if "ours" in troubles else YOUR_INPUT if troubles else DONE


def show_season(result: SeasonResult) -> None:
    """How the season stands, what failed and why, and where the table lies."""
    counts = ", ".join(f"{count} {state}" for state, count in result.counts.items())
    found = sum(episode.how == "found" for episode in result.episodes)
    cost = "" if result.cost is None else f", {result.cost:.2f} {result.currency}"
    print(f"season {result.season_id}: {counts} in {in_words(result.seconds)}{cost}")
    if found:
        print(f"  {found} episodes were finished before")
    failed = [row for row in result.rows if row.state == "failed"]
    for row in failed[:MOST_SHOWN]:
        print(f"  {row.episode_id} {row.language} failed: {one_line(row.reason)}")
    for row in [row for row in result.rows if row.state == "skipped"][:MOST_SHOWN]:
        print(f"  {row.episode_id} {row.language} skipped: {one_line(row.reason)}")
    if len(failed) > MOST_SHOWN:
        print(f"  and {len(failed) - MOST_SHOWN} more; the table has them all")
    num_review = sum(row.num_review or 0 for row in result.rows)
    if num_review:
        print(f"  {num_review} shots wait for review")
    print(f"  table  {result.table}")
    if result.index:
        print(f"  page   {result.index}")


def show_estimate(estimate: SeasonEstimate) -> None:
    """The plan and what it takes, the most urgent episode first."""
    from flows.run.show import print_table

    rows: list[tuple[str, ...]] = [("episode", "languages", "film", "GPU", "machine", "cost", "done after", "air date")]
    for one in estimate.episodes[:MOST_SHOWN]:
        spent = (in_words(one.gpu_seconds), in_words(one.machine_seconds)) if not one.is_finished else ("", "finished")
        when = "" if one.air_date is None else f"{one.air_date:%Y-%m-%d %H:%M}{'' if one.meets_air_date else '  LATE'}"
        cost = "" if one.cost is None or one.is_finished else f"{one.cost:.2f}"
        rows.append((one.episode_id, ",".join(one.languages), in_words(one.film_s), *spent, cost, in_words(one.ends_after_s), when))
    print_table(rows)
    if len(estimate.episodes) > MOST_SHOWN:
        print(f"and {len(estimate.episodes) - MOST_SHOWN} episodes more; --json gives them all")
    cost = "" if estimate.cost is None else f", {estimate.cost:.2f} {estimate.currency}"
    kind = "measured" if estimate.is_measured else "in part a first guess: not every stage was measured yet"
    total = f"{in_words(estimate.gpu_seconds)} of GPU work, {in_words(estimate.machine_seconds)} of machines"
    print(f"season {estimate.season_id}: {total}, {in_words(estimate.wall_seconds)} by the clock with {estimate.num_at_once} at once{cost} ({kind})")
    late = [one.episode_id for one in estimate.episodes if one.meets_air_date is False]
    if late:
        print(f"  {len(late)} miss their air date: {', '.join(late[:MOST_SHOWN])}")
    for row in estimate.skipped[:MOST_SHOWN]:
        print(f"  {row.episode_id} {row.language} would be skipped: {one_line(row.reason)}")
    for text in estimate.warnings:
        print(f"  note: {text}")


def read_rates_folder(rates: str | None) -> Path | None:
    """The folder whose rates.json holds stage times measured elsewhere. Raises InputError."""
    if rates is None:
        return None
    path = Path(rates).expanduser()
    folder = path.parent if path.name == "rates.json" else path
    if not (folder / "rates.json").is_file():
        raise InputError(f"--rates {redact(rates)}: there is no rates.json. It lies in the work folder of a machine that has dubbed something.")
    return folder
