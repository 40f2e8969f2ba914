"""Playlists, manifests and references, under whatever name, lead nowhere: nothing but the file itself is ever read."""

import os
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from av.error import FFmpegError

from infra import ffmpeg
from infra.artifacts import ArtifactStore
from infra.container import OPEN_OPTIONS, open_container
from infra.errors import InputError, OurTroubleError
from infra.video import read_audio
from tasks.inspect_film import inspect_film
from tasks.prepare_stem import prepare_stem
from tests import media

SECRET = "canary-7f3a"


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """(address of a server on this machine, the paths that were asked of it)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, format, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def neighbour(tmp_path) -> Path:
    """A good film in the same folder that a playlist may point to."""
    return media.numbered_film(tmp_path / "neighbour.ts", 25, sound=media.Sound(media.tone(1.0)))


def playlists(address: str, neighbour: Path) -> dict[str, str]:
    secret = neighbour.parent / "secret.txt"
    secret.write_text(SECRET)
    return {
        "m3u8 over http": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
        "m3u8 of a neighbour": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{neighbour.name}\n#EXT-X-ENDLIST\n",
        "m3u8 of a file": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "m3u8 of m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{address}/child.m3u8\n",
        "m3u8 with a key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{address}/key"\n#EXTINF:1,\n{neighbour.name}\n#EXT-X-ENDLIST\n',
        "m3u8 by concat": f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nconcat:{address}/x|file://{secret}\n#EXT-X-ENDLIST\n",
        "m3u8 by subfile": f"#EXTM3U\n#EXTINF:1,\nsubfile,,start,0,end,9,,:{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat of a neighbour": f"ffconcat version 1.0\nfile {neighbour.name}\n",
        "ffconcat over http": f"ffconcat version 1.0\nfile {address}/a.ts\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{address}/</BaseURL></MPD>',
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=tool:{address}\nm=video 5004 RTP/AVP 96\n",
        "pls": f"[playlist]\nFile1={address}/a.ts\nNumberOfEntries=1\n",
        "xspf": f'<?xml version="1.0"?><playlist><trackList><track><location>{address}/a</location></track></trackList></playlist>',
        "smil": f'<smil><body><video src="{address}/a"/></body></smil>',
        "filter graph": f"movie={neighbour.name}[out0]",
        "address": f"{address}/a.mp4",
    }


@pytest.mark.parametrize("name", ["film.mp4", "film.m3u8", "film.mkv", "film.txt", "film.wav", "film"])
def test_no_playlist_is_taken_for_film_or_sound(name, store, neighbour, listener, tmp_path):
    address, asked = listener
    good = inspect_film(store, neighbour)
    for kind, text in playlists(address, neighbour).items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError) as film_refusal:
            inspect_film(store, path)
        with pytest.raises(InputError) as sound_refusal:
            prepare_stem(store, good, path, "es", "dialogue")
        for refusal in (film_refusal, sound_refusal):
            assert SECRET not in str(refusal.value), kind
    assert asked == []


def test_the_formats_themselves_are_refused_even_where_the_text_is_not_recognised(neighbour, listener, tmp_path):
    """The second lock: FFmpeg's own whitelist, for whatever slips past the look at the first bytes."""
    address, asked = listener
    for kind, text in playlists(address, neighbour).items():
        path = tmp_path / "film.mp4"
        path.write_text(text)
        with pytest.raises(FFmpegError):
            print(kind, av.open(f"file:{path}", options=OPEN_OPTIONS))  # shown where it was opened after all
        with pytest.raises(OurTroubleError):
            ffmpeg.run(["-y", *ffmpeg.input_options(path), str(tmp_path / "out.mkv")], timeout_s=30)
    assert asked == []


def test_without_the_locks_the_same_list_would_open_the_neighbour(neighbour, tmp_path):
    """So the tests above are not satisfied by a list that is merely malformed."""
    path = tmp_path / "film.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {neighbour.name}\n")
    with av.open(str(path)) as container:
        assert container.format.name == "concat"
        assert len(container.streams.video) == 1


def mov_with_reference(source_mov: Path, target: Path, kind: bytes, body: bytes) -> Path:
    """A MOV whose picture is said to lie in another file: its data reference is replaced, and every box around it grown."""
    data = source_mov.read_bytes()
    at = data.index(b"dref") - 4
    old_size = struct.unpack(">I", data[at : at + 4])[0]
    entry = struct.pack(">I4sI", 12 + len(body), kind, 0) + body
    dref = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    grown = bytearray(data[:at] + dref + data[at + old_size :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        start = data.rindex(parent, 0, at) - 4
        size = struct.unpack(">I", data[start : start + 4])[0]
        grown[start : start + 4] = struct.pack(">I", size + len(dref) - old_size)
    target.write_bytes(bytes(grown))
    return target


def alias_record(path: Path) -> bytes:
    """A Macintosh alias that names a file by its absolute path, as far as FFmpeg reads one."""
    name = str(path).encode()
    name += bytes(len(name) % 2)
    return bytes(150) + struct.pack(">hH", 2, len(name)) + name + struct.pack(">hH", -1, 0)


def first_number(container) -> int:
    frame = next(container.decode(video=0))
    return media.read_number(frame.to_ndarray(format="bgr24"))


def test_a_mov_that_refers_to_another_file_is_not_followed(store, tmp_path):
    # Two films of one shape, so that the samples of one may be read from the other.
    for name, first in (("source.mov", 0), ("other.mov", 1000)):
        pictures = [media.with_number(picture, first + n) for n, picture in enumerate(media.shot_pictures(0, 5))]
        media.write_film(tmp_path / name, pictures, codec="rawvideo", pixel_format="uyvy422")
    source, other = tmp_path / "source.mov", tmp_path / "other.mov"
    reference = mov_with_reference(source, tmp_path / "film.mov", b"alis", alias_record(other))
    with av.open(str(reference), options={"enable_drefs": "1", "use_absolute_path": "1"}) as followed:
        assert first_number(followed) == 1000  # the reference is a good one
    with pytest.raises(InputError, match=r"5 frames are declared .*, 0 decode"):
        inspect_film(store, reference)


def test_a_mov_that_refers_to_an_address_asks_for_nothing(store, listener, tmp_path):
    address, asked = listener
    source = media.numbered_film(tmp_path / "source.mov", 25)
    reference = mov_with_reference(source, tmp_path / "film.mov", b"url ", f"{address}/stolen.mov".encode() + b"\0")
    assert inspect_film(store, reference).num_frames == 25  # its own samples are there, and are what is read
    assert asked == []


@pytest.mark.parametrize(
    "name",
    [
        "http://169.254.169.254/latest",
        "concat:a.ts|b.ts",
        "subfile,,start,0,end,9,,:/etc/passwd",
        "data:video/mp4;base64,AAAA",
        "async:/etc/passwd",
        "pipe:0",
        "-i",
        "|id",
    ],
)
def test_protocol_words_are_only_file_names(name, store, listener, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        inspect_film(store, name)
    with pytest.raises(InputError, match="no such file"):
        read_audio(name)


@pytest.mark.parametrize(
    "name", ["-i.mp4", "a b.mp4", "%03d.mp4", "a;touch x.mp4", "$(id).mp4", "concat:x.mp4", "line\nbreak.mp4", "film?.mp4", "a'b\".mp4", "ü😀.mp4"]
)
def test_strange_names_of_good_films_are_fine(name, store, neighbour, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    source = media.remux(neighbour, tmp_path / "good.mp4")
    path = folder / name
    source.rename(path)
    assert inspect_film(store, path).num_frames == 25
    with open_container(path) as container:
        assert len(container.streams.audio) == 1
    ffmpeg.run(["-y", *ffmpeg.input_options(path), "-c", "copy", "-f", "matroska", str(tmp_path / "out.mkv")], timeout_s=30)
    assert [file.name for file in folder.iterdir()] == [name]


def test_pipes_and_devices_are_no_films(store, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(InputError):
            inspect_film(store, path)
