"""How a take looks, beside its score: the patch in the picture, and what the mouth does when the generator hears nothing."""

from infra.artifacts import ArtifactStore
from tasks.leak_probe import leak_share
from tasks.picture_checks import check_pictures
from tasks.types import Film, Models, PictureChecks, Shot, ShotFaces, ShotPatches, TakeSettings

VERSION = 3


def check_take(
    store: ArtifactStore, film: Film, shot: Shot, faces: ShotFaces, patches: ShotPatches, models: Models, settings: TakeSettings
) -> PictureChecks:
    """Checks of one take on its longest patch; all None where nothing was generated."""
    if not patches.patches:
        return PictureChecks()
    longest = max(patches.patches, key=lambda patch: (patch.end_frame - patch.first_frame, -patch.first_frame))
    track = next(track for track in faces.tracks if track.track_id == longest.track_id)
    ways = settings.model_copy(update={"rung": "", "model": None})
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "shot": shot, "track": track, "patch": longest, "settings": ways}

    def make() -> PictureChecks:
        checks = check_pictures(store, film, track, longest)
        return checks.model_copy(update={"leak_share": leak_share(store, film, track, longest, models, settings)})

    return store.get_or_make("check_take", VERSION, inputs, PictureChecks, make)
