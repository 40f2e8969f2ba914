"""Which sighting is whose, and how scattered sightings become one smooth path."""

import numpy as np

from wav2lip_core.face_detector import Face
from wav2lip_core.face_path import smooth_path, smoothed
from wav2lip_core.face_tracker import FaceTracker


def seen_at(x: float, y: float, size: float = 100.0, score: float = 1.0) -> Face:
    box = (x - size * 0.38, y - size / 2, x + size * 0.38, y + size / 2)
    return Face(box, score, None, box)


def tracked(sightings: list[list[Face]]) -> FaceTracker:
    """A tracker that was shown these faces, one look per frame, over a picture in which nothing can be followed."""
    tracker, blank = FaceTracker(), np.full((360, 640), 128, np.uint8)
    for n, faces in enumerate(sightings):
        tracker.follow(blank)
        tracker.see(n, faces)
    return tracker


def test_each_sighting_goes_to_the_trail_that_is_nearest_for_all_together() -> None:
    # Alone, the right one would take the left one's place: only together is it clear that both moved to the right.
    tracker = tracked([[seen_at(200, 150), seen_at(260, 150)], [seen_at(245, 150), seen_at(305, 150)]])
    assert [[round((face.box[0] + face.box[2]) / 2) for _, face in trail.sightings] for trail in tracker.trails()] == [[200, 245], [260, 305]]


def test_a_face_far_from_every_trail_or_of_another_size_is_somebody_new() -> None:
    assert len(tracked([[seen_at(100, 150)], [seen_at(400, 150)]]).trails()) == 2
    assert len(tracked([[seen_at(100, 150)], [seen_at(130, 150, size=300)]]).trails()) == 2


def test_a_second_box_on_a_face_already_followed_is_not_a_second_person() -> None:
    assert len(tracked([[seen_at(100, 150)], [seen_at(102, 150), seen_at(110, 155, score=0.3)]]).trails()) == 1


def test_smoothing_leaves_straight_motion_alone_up_to_the_very_ends() -> None:
    times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.08, 50))
    line = np.stack([3 + 40 * times, 5 - 7 * times], axis=1)
    np.testing.assert_allclose(smoothed(line, times, 0.08), line, atol=1e-6)
    np.testing.assert_allclose(smoothed(line[:1], times[:1], 0.08), line[:1])
    np.testing.assert_allclose(smoothed(line[:2], times[:2], 0.08), line[:2], atol=1e-6)


def test_smoothing_takes_out_trembling() -> None:
    times = np.arange(200) / 25
    trembling = np.random.default_rng(2).normal(0, 1, (200, 1))
    assert smoothed(trembling, times, 0.08).std() < 0.45 * trembling.std()


def test_a_path_reaches_the_shots_border_only_from_next_to_it() -> None:
    looks = [*range(0, 100, 5), 99]
    times = np.arange(100) / 25

    def reach(first_seen: int, last_seen: int) -> tuple[int, int]:
        tracker = FaceTracker()
        for n in looks:
            tracker.see(n, [seen_at(200, 150)] if first_seen <= n <= last_seen else [])
        path = smooth_path(tracker.trails()[0], tracker.looks, times, (1.0, 1.0))
        assert len(path.boxes) == len(path.confidence) == len(path.detected) == path.end_frame - path.first_frame
        return path.first_frame, path.end_frame

    assert reach(0, 99) == (0, 100)
    assert reach(5, 95) == (0, 100)
    assert reach(10, 90) == (0, 100)
    assert reach(15, 85) == (15, 86)
    assert reach(0, 0) == (0, 1)
