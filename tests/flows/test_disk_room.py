"""Whether a dub fits on the disk is asked when the film is known and nothing else is done; the estimate covers what a dub really takes."""

import pytest

from infra.artifacts import ArtifactStore
from infra.errors import InputError
from tasks.disk_needs import disk_needs
from tasks.inspect_film import inspect_film
from tests.flows.test_dub_episode import request_for

pytestmark = pytest.mark.usefixtures("settings_of_test")


def test_a_dub_that_does_not_fit_is_refused_before_a_single_shot_is_looked_at(small, tiny_disk, tmp_path):
    from flows.dub_episode import dub_episode

    with pytest.raises(InputError, match=r"expected to take \d+\.\d MB in .*tiny/work/artifacts, but only 0\.\d MB are free there"):
        dub_episode(request_for(small, tmp_path / "out", work=str(tiny_disk / "work")))
    assert [folder.name for folder in (tiny_disk / "work/artifacts/records").iterdir()] == ["inspect_film"]
    assert not (tmp_path / "out").exists()


def test_the_estimate_covers_what_a_dub_really_takes(small, tmp_path):
    from flows.dub_episode import dub_episode

    work, out = tmp_path / "work", tmp_path / "out"
    dub_episode(request_for(small, out, work=str(work)))
    needs = disk_needs(inspect_film(ArtifactStore(work / "artifacts"), small.film), 1, "h264")
    taken, published = (sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in (work / "artifacts", out))
    film = (out / "small/fr/small.fr.mp4").stat().st_size  # lay in scratch, too, until it was published
    assert needs.work / 20 < taken + film < needs.work
    assert published < needs.out
