"""One more try at a shot as one step: lips, scores and picture checks of a take made in another way."""

from infra.artifacts import ArtifactStore
from tasks.check_take import check_take
from tasks.judge_shot import judge_shot
from tasks.sync_lips import sync_lips
from tasks.types import Casting, Film, Models, Shot, ShotFaces, Stem, TakeSettings, Try
from tasks.voices import Voices


def retry_take(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    faces: ShotFaces,
    casting: Casting,
    dub: Stem,
    original: Stem | None,
    models: Models,
    settings: TakeSettings,
    voices: Voices | None = None,
) -> Try:
    """Make and measure a take."""
    patches = sync_lips(store, film, shot, faces, casting, dub, original, models, settings, voices)
    measures = judge_shot(store, film, shot, faces, casting, patches, original, dub, models, voices)
    checks = check_take(store, film, shot, faces, patches, models, settings)
    return Try(
        settings=settings,
        patches=patches,
        measures=measures.model_copy(update={"checks": checks}),
        generator_sha256=models.generator_sha256,
    )
