"""Segments are encoded apart and joined without re-encoding: every frame is there, at its time, in the film's own format."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from infra import ffmpeg
from infra.errors import InputError, OurTroubleError
from infra.scan import VideoFacts, scan
from infra.video_join import display_matrix, join_segments
from infra.video_write import choose_encoding, decoded_format, encode_segment
from tests.film_clips import FFV1, all_planes, make_picture, make_vfr_picture, planes_of, reader_of, same_planes

RATES = ("25", "24000/1001", "30000/1001", "60000/1001")
SUFFIX = {"h264": "mp4", "ffv1": "mkv"}


def as_film(facts: VideoFacts):
    """What scan() found, with upright sizes, as encoders want it."""
    values = {name: getattr(facts, name) for name in VideoFacts.__dataclass_fields__} | {"video_codec": facts.codec}
    if facts.rotation_degrees % 180:
        values.update(width=facts.height, height=facts.width)
    return SimpleNamespace(**values)


def encode(facts: VideoFacts, cuts: list[int], folder: Path, codec) -> list[tuple[Path, int, int]]:
    film, reader = as_film(facts), reader_of(facts)
    borders, segments = [0, *cuts, facts.num_frames], []
    for first, end in pairwise(borders):
        segment = folder / f"{codec}-{first}-{end}.nut"
        encode_segment(segment, (frame for _, frame in reader.frames(first, end)), film, facts.pts[first:end], choose_encoding(film, codec))
        segments.append((segment, first, end))
    return segments


def rewrite(source: Path, cuts: list[int], codec="h264", matrix=None) -> Path:
    """Encode a film in pieces and join them."""
    facts = scan(source)
    joined = source.parent / f"joined-{source.stem}.{SUFFIX[codec]}"
    join_segments(joined, encode(facts, cuts, source.parent, codec), as_film(facts), facts.pts, codec, matrix)
    return joined


def packets(path: Path) -> list[tuple[int, int, bool]]:
    """(pts, dts, is_keyframe) in decoding order."""
    with av.open(str(path)) as container:
        return [(packet.pts, packet.dts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def times_s(facts: VideoFacts) -> np.ndarray:
    return (facts.pts - facts.pts[0]) * float(facts.time_base)


@pytest.mark.parametrize("rate", RATES)
def test_joined_pieces_have_every_frame_at_its_time(tmp_path, rate):
    source = make_picture(tmp_path / "film.mp4", rate=rate)
    facts, written = scan(source), scan(rewrite(source, [1, 8, 30, 49]))
    assert written.num_frames == facts.num_frames == 50
    assert written.fps == facts.fps == Fraction(rate)
    assert np.array_equal(times_s(written), times_s(facts))
    assert not written.is_vfr
    assert not written.is_truncated


def test_frames_of_a_variable_rate_keep_exactly_their_times(tmp_path):
    source = make_vfr_picture(tmp_path / "film.mp4")
    facts, written = scan(source), scan(rewrite(source, [13, 40]))
    assert facts.is_vfr
    assert len(set(np.diff(facts.pts))) > 10
    assert np.array_equal(times_s(written), times_s(facts))


@pytest.mark.parametrize("maker", [lambda path: make_picture(path, rate="24000/1001"), make_vfr_picture])
def test_decoding_times_rise_and_never_pass_presentation(tmp_path, maker):
    found = packets(rewrite(maker(tmp_path / "film.mp4"), [7, 20]))
    assert all(before[1] < after[1] for before, after in pairwise(found))
    assert all(dts <= pts for pts, dts, _ in found)
    assert any(pts > dts for pts, dts, _ in found)


def test_every_piece_is_a_closed_group_with_b_frames(tmp_path):
    joined = rewrite(make_picture(tmp_path / "film.mp4", num_frames=60), [20, 21])
    with av.open(str(joined)) as container:
        kinds = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    assert [kinds[n] for n in (0, 20, 21)] == ["I", "I", "I"]
    assert Counter(kinds)["B"] > 10
    shown = sorted(pts for pts, _, _ in packets(joined))
    keyframes = [shown.index(pts) for pts, _, is_keyframe in packets(joined) if is_keyframe]
    assert {0, 20, 21} <= set(keyframes)


def test_times_rounded_to_milliseconds_become_the_exact_rate_again(tmp_path):
    source = make_picture(tmp_path / "film.mkv", rate="24000/1001")
    facts, written = scan(source), scan(rewrite(source, [20]))
    assert facts.time_base == Fraction(1, 1000)
    assert (written.fps, written.is_vfr) == (Fraction(24000, 1001), False)
    assert np.abs(times_s(written) - times_s(facts)).max() <= 0.001
    assert np.allclose(times_s(written), np.arange(50) * 1001 / 24000, atol=1e-9)


def test_joining_changes_no_picture(tmp_path):
    source = make_picture(tmp_path / "film.mp4")
    joined = rewrite(source, [8, 30])
    pieces = [planes for first, end in ((0, 8), (8, 30), (30, 50)) for planes in all_planes(tmp_path / f"h264-{first}-{end}.nut")]
    whole = all_planes(joined)
    assert len(whole) == len(pieces) == 50
    assert all(same_planes(a, b) for a, b in zip(whole, pieces, strict=True))


LOSSLESS = "yuv420p yuv422p yuv444p yuv411p yuv410p gray yuva420p bgr0 yuv420p10le yuv422p10le yuv444p12le gray16le gbrp10le"
SMALL_AND_ODD = [("yuv420p", "97x63"), ("yuv422p10le", "15x9"), ("yuv420p", "2x2"), ("yuv444p", "1x1"), ("yuv420p", "127x127")]


@pytest.mark.parametrize(("pixel_format", "size"), [(name, "96x64") for name in LOSSLESS.split()] + SMALL_AND_ODD)
def test_ffv1_gives_back_every_sample(tmp_path, pixel_format, size):
    source = make_picture(tmp_path / "film.mkv", pixel_format=pixel_format, size=size, num_frames=12, codec=FFV1)
    joined = rewrite(source, [5], "ffv1")
    written, original = all_planes(joined), all_planes(source)
    assert scan(joined).pixel_format == pixel_format
    assert len(written) == len(original) == 12
    if pixel_format == "bgr0":  # its fourth byte means nothing
        written, original = ([[planes[0].reshape(64, 96, 4)[..., :3]] for planes in film] for film in (written, original))
    assert all(same_planes(a, b) for a, b in zip(written, original, strict=True))


@pytest.mark.parametrize("pixel_format", ["nv12", "yuyv422", "rgb24", "gray10le"])
def test_ffv1_keeps_the_samples_of_packed_films_in_planes(tmp_path, pixel_format):
    source = make_picture(tmp_path / "film.nut", pixel_format=pixel_format, num_frames=4, codec=("-c:v", "rawvideo"))
    assert scan(source).pixel_format == pixel_format
    joined = rewrite(source, [2], "ffv1")
    with av.open(str(joined)) as container:
        written = [planes_of(frame.reformat(format=pixel_format, interpolation="POINT")) for frame in container.decode(video=0)]
    assert all(same_planes(a, b) for a, b in zip(written, all_planes(source), strict=True))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_h264_keeps_the_pixel_format_and_the_look(tmp_path, pixel_format):
    source = make_picture(tmp_path / "film.mkv", pixel_format=pixel_format, num_frames=12, codec=FFV1)
    joined = rewrite(source, [5])
    assert scan(joined).pixel_format == pixel_format
    assert scan(joined).codec == "h264"
    peak = 255 if pixel_format.endswith("p") else 1023
    for before, after in zip(all_planes(source), all_planes(joined), strict=True):
        error = np.mean([(np.square((a - b.astype(float)) / peak)).mean() for a, b in zip(before, after, strict=True)])
        assert -10 * np.log10(error) > 38


@pytest.mark.parametrize(("pixel_format", "size"), [("yuv420p", "97x64"), ("yuv420p", "96x63"), ("yuv422p", "15x9"), ("yuv411p", "96x64")])
def test_what_h264_cannot_hold_gets_full_chroma_at_the_same_size_and_says_so(tmp_path, pixel_format, size):
    source = make_picture(tmp_path / "film.mkv", pixel_format=pixel_format, size=size, num_frames=6, codec=FFV1)
    written = scan(rewrite(source, [3]))
    assert (written.pixel_format, f"{written.width}x{written.height}") == ("yuv444p", size)
    encoding = choose_encoding(as_film(scan(source)), "h264")
    assert "each chroma sample repeated" in encoding.warnings[0]
    luma = [np.abs(a[0].astype(int) - b[0]).mean() for a, b in zip(all_planes(source), all_planes(tmp_path / "joined-film.mp4"), strict=True)]
    assert max(luma) < 4


@pytest.mark.parametrize("pixel_format", ["yuv420p12le", "yuv420p16le", "gbrp10le", "bgr0", "yuva420p"])
def test_what_h264_would_spoil_is_refused_with_advice(tmp_path, pixel_format):
    facts = scan(make_picture(tmp_path / "film.mkv", pixel_format=pixel_format, num_frames=2, codec=FFV1))
    with pytest.raises(InputError, match="Use --lossless"):
        choose_encoding(as_film(facts), "h264")
    assert choose_encoding(as_film(facts), "ffv1").pixel_format == pixel_format


def test_gray_films_stay_without_chroma_and_as_bright(tmp_path):
    source = make_picture(tmp_path / "film.mkv", pixel_format="gray", num_frames=6, codec=FFV1)
    written = scan(rewrite(source, [3]))
    assert written.pixel_format.replace("yuvj", "yuv") == decoded_format(choose_encoding(as_film(scan(source)), "h264")) == "yuv420p"
    pictures = [next(reader_of(facts).pictures(0, 1))[1].astype(int) for facts in (scan(source), written)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 2


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_colour_tags_and_aspect_ratio_are_the_films(tmp_path, codec):
    tags = "setparams=range=full:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc,setsar=16/15"
    facts = scan(make_picture(tmp_path / "film.mp4", pixel_format="yuv420p10le", num_frames=4, filters=tags))
    written = scan(rewrite(tmp_path / "film.mp4", [2], codec))
    tagged = ("color_range", "color_primaries", "color_transfer", "color_space")
    assert [getattr(facts, name) for name in tagged] == [2, 9, 16, 9]
    assert [getattr(written, name) for name in tagged] == [2, 9, 16, 9]
    if codec == "h264":  # Matroska's is written when the sound is added
        assert written.sample_aspect_ratio == Fraction(16, 15)


def test_full_range_pictures_are_not_squeezed(tmp_path):
    source = make_picture(tmp_path / "film.mp4", pixel_format="yuvj420p", num_frames=4)
    assert scan(source).pixel_format == "yuvj420p"
    written = scan(rewrite(source, [2]))
    assert written.color_range == 2
    assert picture_shift(source, Path(written.path)) < 0.5


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg1video", "mpeg2video"])  # centred, centred, left
def test_chroma_lies_where_it_lay(tmp_path, codec):
    source = make_picture(tmp_path / "film.mkv", num_frames=4, codec=("-c:v", codec, "-q:v", "2"))
    assert picture_shift(source, rewrite(source, [2])) < 0.5


def picture_shift(source: Path, written: Path) -> float:
    """How far the mean colour moves, in levels. Hard colour edges turn a wrong place of chroma samples into a cast."""
    a, b = (next(reader_of(scan(path)).pictures(1, 2))[1].astype(int) for path in (source, written))
    return float(np.abs((a - b).mean(axis=(0, 1))).max())


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
@pytest.mark.parametrize("field", ["tff", "bff"])
def test_interlaced_films_stay_so_with_the_same_field_first(tmp_path, codec, field):
    source = make_picture(tmp_path / "film.mkv", num_frames=8, codec=FFV1, filters=f"setfield={field}")
    written = scan(rewrite(source, [4], codec))
    assert written.is_interlaced
    assert is_top_field_first(Path(written.path)) == (field == "tff")


def is_top_field_first(path: Path) -> bool:
    """What the file's own frames say."""
    top_first = "eq(interlace_type,TOPFIRST)"
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        graph.link_nodes(graph.add_buffer(template=container.streams.video[0]), graph.add("select", top_first), graph.add("buffersink")).configure()
        graph.push(next(container.decode(video=0)))
        graph.push(None)
        try:
            return graph.pull() is not None
        except (av.BlockingIOError, av.EOFError):
            return False


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
@pytest.mark.parametrize("turn", ["90", "180", "270", "mirror"])
def test_players_turn_the_result_as_they_turn_the_film(tmp_path, codec, turn):
    make_picture(tmp_path / "flat.mp4", num_frames=4)
    options = ["-display_rotation", "90", "-display_hflip"] if turn == "mirror" else ["-display_rotation", turn]
    ffmpeg.run([*options, "-i", str(tmp_path / "flat.mp4"), "-c", "copy", str(tmp_path / "film.mp4")], timeout_s=60)
    facts = scan(tmp_path / "film.mp4")
    matrix = display_matrix(next(reader_of(facts).frames(0, 1))[1])
    written = scan(rewrite(tmp_path / "film.mp4", [2], codec, matrix))
    assert matrix is not None
    assert display_matrix(next(reader_of(written).frames(0, 1))[1]) == matrix
    assert (written.rotation_degrees, written.width, written.height) == (facts.rotation_degrees, 96, 64)


def test_one_frame_is_a_film(tmp_path):
    for codec in ("h264", "ffv1"):
        assert scan(rewrite(make_picture(tmp_path / f"{codec}.mp4", num_frames=1), [], codec)).num_frames == 1


@pytest.mark.parametrize(("codec", "size"), [("h264", "96x64"), ("h264", "352x288"), ("ffv1", "96x64")])
def test_the_same_frames_give_the_same_bytes(tmp_path, codec, size):
    facts = scan(make_picture(tmp_path / "film.mp4", size=size, num_frames=30))
    results = set()
    for name in "abcd":
        (tmp_path / name).mkdir()
        results.add(b"".join(segment.read_bytes() for segment, _, _ in encode(facts, [9, 18], tmp_path / name, codec)))
    assert len(results) == 1


def test_pieces_that_leave_a_gap_or_overlap_are_not_joined(tmp_path):
    facts = scan(make_picture(tmp_path / "film.mp4"))
    a, b, c = encode(facts, [20, 30], tmp_path, "h264")
    for wrong in ([a, c], [b, c], [a, b], [a, a, b, c], [a, c, b]):
        with pytest.raises(OurTroubleError, match="reels"):
            join_segments(tmp_path / f"{len(list(tmp_path.iterdir()))}.mp4", wrong, as_film(facts), facts.pts, "h264")


def test_a_piece_of_other_length_than_it_claims_is_found(tmp_path):
    facts = scan(make_picture(tmp_path / "film.mp4"))
    (a, _, _), (b, _, _) = encode(facts, [20], tmp_path, "h264")
    with pytest.raises(OurTroubleError, match="lacks frame 20"):
        join_segments(tmp_path / "short.mp4", [(a, 0, 21), (b, 21, 50)], as_film(facts), facts.pts, "h264")
    with pytest.raises(OurTroubleError, match="none of them"):
        join_segments(tmp_path / "long.mp4", [(a, 0, 19), (b, 19, 50)], as_film(facts), facts.pts, "h264")


def test_a_cut_off_piece_is_found(tmp_path):
    facts = scan(make_picture(tmp_path / "film.mp4"))
    (a, _, _), b = encode(facts, [20], tmp_path, "ffv1")
    a.write_bytes(a.read_bytes()[: a.stat().st_size * 2 // 3])
    with pytest.raises(OurTroubleError, match="lacks frame"):
        join_segments(tmp_path / "joined.mkv", [(a, 0, 20), b], as_film(facts), facts.pts, "ffv1")


def test_pieces_with_other_headers_are_not_joined(tmp_path):
    facts = scan(make_picture(tmp_path / "film.mp4"))
    (tmp_path / "other").mkdir()
    other = scan(make_picture(tmp_path / "other" / "film.mp4", size="96x80"))
    a, b = encode(facts, [20], tmp_path, "h264")[0], encode(other, [20], tmp_path / "other", "h264")[1]
    with pytest.raises(OurTroubleError, match="other headers"):
        join_segments(tmp_path / "joined.mp4", [a, b], as_film(facts), facts.pts, "h264")


@pytest.mark.parametrize("num_given", [9, 11])
def test_too_few_or_too_many_frames_are_an_error(tmp_path, num_given):
    facts = scan(make_picture(tmp_path / "film.mp4", num_frames=12))
    frames = (frame for _, frame in reader_of(facts).frames(0, num_given))
    with pytest.raises(OurTroubleError, match="frames of the segment"):
        encode_segment(tmp_path / "segment.nut", frames, as_film(facts), facts.pts[:10], choose_encoding(as_film(facts), "h264"))
