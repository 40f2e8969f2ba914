"""What review has settled is honoured by the next dub: pictures kept, takes rejected or approved, and nothing else touched."""

import pytest

from infra.errors import InputError
from tasks.types import DubRequest, Override, QaReport

pytestmark = pytest.mark.usefixtures("settings_of_test")


def takes_of(small, tmp_path, *overrides: Override, **fields):
    """The takes of a dub that has not come to rendering, with these overrides."""
    from flows.episode.study import begin, study_film
    from flows.episode.takes import dub_shots

    request = DubRequest(
        film=str(small.film), audio={"fr": str(small.dub)}, out=str(tmp_path / "out"), episode_id="small", model="tiny", speaker="only-face",
        overrides=overrides, **fields,
    )  # fmt: skip
    with begin(request) as run:
        return dub_shots(run, study_film(run))


def by_shot(takes) -> dict[int, QaReport]:
    return {report.shot.index: report for report in takes.reports}


def patches_of(takes) -> dict[int, list[str]]:
    return {index: [patch.patch.sha256 for patch in takes.patches if patch.shot_index == index] for index in range(3)}


def test_overrides_are_honoured_shot_by_shot(small, tmp_path):
    plain = takes_of(small, tmp_path)
    assert set(plain.episodes) == {"fr"}
    assert plain.episodes["fr"].reports == plain.reports
    first = by_shot(plain)[0]
    assert first.take_sha256 is not None
    assert first.takes[0].sha256 == first.take_sha256
    assert "cannot be judged by its score" in first.reason  # random weights: nobody may trust them, and the verdict says so
    assert first.verdict == "review"

    kept = takes_of(small, tmp_path, Override(shot=0, language="fr", keep_original="yes"))
    assert (by_shot(kept)[0].outcome, by_shot(kept)[0].code, by_shot(kept)[0].verdict) == ("kept_original", "refused", "kept_original")
    assert by_shot(kept)[0].take_sha256 is None
    assert patches_of(kept) == {**patches_of(plain), 0: []}

    approved = takes_of(small, tmp_path, Override(shot=0, language="fr", approved_take=first.take_sha256))
    assert (by_shot(approved)[0].verdict, by_shot(approved)[0].reason) == ("pass", "approved by a reviewer")
    assert patches_of(approved) == patches_of(plain)

    rejected = takes_of(small, tmp_path, Override(shot=0, language="fr", rejected_takes=(first.take_sha256,)))
    again = by_shot(rejected)[0]
    assert again.take_sha256 not in (None, first.take_sha256)
    assert again.takes[0].settings.rung == "first"
    assert again.num_tries == 2
    assert patches_of(rejected)[2] == patches_of(plain)[2]

    every = tuple(take.sha256 for take in again.takes)
    policy = tmp_path / "short.toml"
    policy.write_text('name = "short"\nversion = 1\n[ladder]\nmax_tries = 2\n')
    none_left = by_shot(takes_of(small, tmp_path, Override(shot=0, language="fr", rejected_takes=every), policy=str(policy)))[0]
    assert (none_left.outcome, none_left.code, none_left.take_sha256) == ("kept_original", "takes_rejected", None)


def test_overrides_and_policies_that_cannot_be_honoured_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="shot 9, but the film has shots 0 to 2"):
        takes_of(small, tmp_path, Override(shot=9, language="fr", keep_original="yes"))
    with pytest.raises(InputError, match="no model named 'absent'"):
        takes_of(small, tmp_path, Override(shot=0, language="fr", model="absent"))
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "ours"\nversion = 1\n[sync]\nmax_offset = 1\n')
    with pytest.raises(InputError, match=r"line 4, sync\.max_offset"):
        takes_of(small, tmp_path, policy=str(policy))
