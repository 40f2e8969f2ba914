"""A dub out of its character stems, where no mix was given: their sum, turned down as a whole where it would clip."""

import wave
from collections.abc import Iterator, Mapping, Sequence
from math import log10
from pathlib import Path

import numpy as np
import soxr

from infra.artifacts import Artifact, ArtifactStore
from infra.errors import InputError
from infra.sound import SoundReader, to_mono
from tasks.types import Record, Stem

VERSION = 1
RATE_HZ = 48_000
HIGHEST_PEAK = 10 ** (-1 / 20)  # -1 dBFS
BLOCK_S = 10
LARGEST_WAV_BYTES = 2**32 - 4096
_FULL_SCALE = 2**23 - 1


class SummedStems(Record):
    """A dub made of stems."""

    sound: Artifact  # WAV, 24 bit, 48 kHz
    gain_db: float  # 0 where the sum did not clip
    warnings: tuple[str, ...] = ()


def sum_stems(store: ArtifactStore, stems: Mapping[str, Stem], language: str) -> SummedStems:
    """The dub of a language. Sample 0 is heard with the film's first frame, as in each stem. stems: character -> stem, at least one.

    Channels are kept where all stems have the same, else all are mixed down to mono. The balance between stems is theirs: when the sum's peak lies
    over -1 dBFS the whole is turned down, and a warning says by how much. Raises InputError for stems that cannot be read, and over 4 GiB.
    """
    inputs = {"language": language, "stems": sorted(stem.sha256 for stem in stems.values())}
    return store.get_or_make("sum_stems", VERSION, inputs, SummedStems, lambda: _make(store, [stems[name] for name in sorted(stems)]))


def _make(store: ArtifactStore, stems: Sequence[Stem]) -> SummedStems:
    readers = [SoundReader(stem.path) for stem in stems]
    layouts = {reader.channel_names for reader in readers}
    num_channels = len(readers[0].channel_names) if len(layouts) == 1 else 1
    with store.scratch() as folder:
        peak = _write_sum(folder / "sum.f32", [_blocks(reader, num_channels) for reader in readers])
        gain = min(1.0, HIGHEST_PEAK / peak) if peak > 0 else 1.0
        _write_wav(folder / "sum.wav", folder / "sum.f32", num_channels, gain)
        gain_db = round(20 * log10(gain), 2)
        warnings = [] if gain == 1 else [f"The sum of the character stems would clip; as a whole it was turned down by {-gain_db:.1f} dB."]
        if len(layouts) > 1:
            warnings.append("The character stems have different channels; their sum is mono.")
        return SummedStems(sound=store.put_file(folder / "sum.wav", "audio/wav"), gain_db=gain_db, warnings=tuple(warnings))


def _blocks(reader: SoundReader, num_channels: int) -> Iterator[np.ndarray]:
    """Blocks of BLOCK_S at RATE_HZ, float32 (n, num_channels), the last one shorter; from the film's first frame on."""
    resampler = soxr.ResampleStream(reader.sample_rate_hz, RATE_HZ, num_channels, dtype="float32", quality="HQ")
    held: list[np.ndarray] = []
    size = BLOCK_S * RATE_HZ
    for block in _resampled(reader, resampler, num_channels):
        held.append(block)
        if sum(map(len, held)) >= size:
            whole = np.concatenate(held)
            while len(whole) >= size:
                yield whole[:size]
                whole = whole[size:]
            held = [whole]
    yield np.concatenate([*held, np.zeros((0, num_channels), np.float32)])


def _resampled(reader: SoundReader, resampler: soxr.ResampleStream, num_channels: int) -> Iterator[np.ndarray]:
    shift = round(reader.start_s * reader.sample_rate_hz)
    if shift > 0:
        yield resampler.resample_chunk(np.zeros((shift, num_channels), np.float32)).reshape(-1, num_channels)
    for block in reader.blocks():
        kept, shift = block[max(0, -shift) :], min(0, shift + len(block)) if shift < 0 else 0
        laid = kept if len(reader.channel_names) == num_channels else to_mono(kept, reader.channel_names)[:, None]
        yield resampler.resample_chunk(np.ascontiguousarray(laid, np.float32)).reshape(-1, num_channels)
    yield resampler.resample_chunk(np.zeros((0, num_channels), np.float32), last=True).reshape(-1, num_channels)


def _write_sum(path: Path, sources: list[Iterator[np.ndarray]]) -> float:
    """The sum as raw float32, block by block; gives its peak."""
    peak = 0.0
    with path.open("wb") as out:
        while sources:
            parts = [(source, next(source, None)) for source in sources]
            sources = [source for source, part in parts if part is not None]
            blocks = [part for _, part in parts if part is not None]
            if not blocks:
                break
            total = np.zeros((max(map(len, blocks)), blocks[0].shape[1]), np.float32)
            for block in blocks:
                total[: len(block)] += block
            peak = max(peak, float(np.abs(total).max(initial=0.0)))
            out.write(total.tobytes())
    return peak


def _write_wav(path: Path, raw: Path, num_channels: int, gain: float) -> None:
    if raw.stat().st_size * 3 // 4 > LARGEST_WAV_BYTES:
        raise InputError("The sum of the character stems is larger than a WAV file can be. Give the mix of them with --audio.")
    with raw.open("rb") as source, wave.open(str(path), "wb") as out:
        out.setnchannels(num_channels)
        out.setsampwidth(3)
        out.setframerate(RATE_HZ)
        while data := source.read(BLOCK_S * RATE_HZ * num_channels * 4):
            samples = np.rint(np.frombuffer(data, np.float32) * (gain * _FULL_SCALE)).clip(-_FULL_SCALE, _FULL_SCALE).astype("<i4")
            out.writeframesraw(samples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
