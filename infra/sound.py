"""Reads sound exactly placed in time: decoder priming trimmed, gaps filled with silence, overlaps cut, memory flat."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from infra.container import container_start_s, open_container
from infra.errors import InputError

# A timestamp may lie this far from where the samples counted so far put it (containers round) before silence is put in or an overlap cut.
PLACEMENT_TOLERANCE_S = 0.01
MAX_GAP_S = 24 * 3600
MAX_DAMAGED_SHARE = 0.01  # of the packets; single bad ones become silence
MIN_DAMAGED = 3

# Gains of the mono downmix by channel (FFmpeg's names), after ITU-R BS.775: half of left and right each, centre at -3 dB, surrounds at -9 dB, no LFE.
MONO_GAINS = {"FL": 0.5, "FR": 0.5, "FC": 0.7071, "LFE": 0.0, "LFE2": 0.0}
SURROUND_GAIN = 0.3536
# Files that name no channels (plain WAV) are taken to hold them in the usual order.
USUAL_CHANNELS = {
    1: ("FC",),
    2: ("FL", "FR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
MAX_PLANES = 7  # PyAV 18.1 reads past the end of its table of planes from eight channels on, and crashes


def read_audio(path: str | Path, stream_index: int = 0) -> tuple[np.ndarray, int, float]:
    """The whole sound of one stream: (float32 (n, num_channels) in [-1, 1], sample rate in Hz, start in seconds after the container's start).

    `stream_index` counts among the container's audio streams. Raises InputError when there is no such stream or it cannot be decoded.
    Long tracks are better read with SoundReader, which keeps memory flat.
    """
    reader = SoundReader(path, stream_index)
    return np.concatenate(list(reader.blocks())), reader.sample_rate_hz, reader.start_s


class SoundReader:
    """One audio stream, read block by block. Known after construction: sample_rate_hz, channel_names (FFmpeg's), codec.

    start_s: seconds from the container's start to the first sample. Known after blocks(): num_samples given, num_damaged packets.
    """

    def __init__(self, path: str | Path, stream_index: int = 0):
        self.path, self.stream_index = str(path), stream_index
        self.num_packets = self.num_damaged = self.num_samples = 0
        with open_container(path) as container:
            stream = self._open_stream(container)
            self.codec = stream.codec_context.name
            first = next(self._decode(container, stream), None)
            if first is None:
                raise InputError(f"{path}: its sound ({self.codec}) cannot be decoded, or holds no samples.")
            self.sample_rate_hz: int = first.sample_rate
            self.channel_names: tuple[str, ...] = _channel_names(first)
            self.start_s = 0.0 if first.time is None else first.time - container_start_s(container)

    def blocks(self) -> Iterator[np.ndarray]:
        """Consecutive float32 (n, num_channels) blocks in [-1, 1], without a hole from the first sample on.

        Raises InputError when the sound is damaged beyond single packets, or changes its rate or number of channels.
        """
        rate, num_given, first_time_s = self.sample_rate_hz, 0, None
        tolerance, convert = round(PLACEMENT_TOLERANCE_S * rate), _FloatConverter()
        with open_container(self.path) as container:
            for frame in self._decode(container, self._open_stream(container)):
                self._refuse_change(frame, num_given)
                samples = convert(frame)
                if frame.time is not None:
                    first_time_s = frame.time if first_time_s is None else first_time_s
                    num_late = round((frame.time - first_time_s) * rate) - num_given
                    if num_late > tolerance:
                        yield from self._silence(num_late)
                        num_given += num_late
                    elif num_late < -tolerance:
                        samples = samples[-num_late:]
                num_given += len(samples)
                if len(samples):
                    yield samples
        self.num_samples = num_given
        self._refuse_damage()

    def _open_stream(self, container: InputContainer) -> AudioStream:
        streams = container.streams.audio
        if not 0 <= self.stream_index < len(streams):
            number = f"audio stream {self.stream_index} was asked for, it has {len(streams)}" if streams else "it has no audio stream"
            raise InputError(f"{self.path}: no sound to read: {number}.")
        stream = streams[self.stream_index]
        if stream.codec_context is None:
            raise InputError(f"{self.path}: there is no decoder for the codec of its audio stream {self.stream_index}. Convert it to wav or flac.")
        return stream

    def _decode(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        self.num_packets = self.num_damaged = self.num_samples = 0
        for packet in container.demux(stream):
            self.num_packets += 1
            try:
                frames = packet.decode()
            except FFmpegError:
                self.num_damaged += 1
                continue
            yield from (frame for frame in frames if frame.samples)

    def _refuse_change(self, frame: AudioFrame, num_given: int) -> None:
        num_channels, rate = len(self.channel_names), self.sample_rate_hz
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, num_channels):
            raise InputError(
                f"{self.path}: its sound changes from {num_channels} channels at {rate} Hz to {frame.layout.nb_channels} channels at "
                f"{frame.sample_rate} Hz after {num_given / rate:.2f} s. Convert it to one layout first."
            )

    def _refuse_damage(self) -> None:
        if self.num_damaged > max(MIN_DAMAGED, MAX_DAMAGED_SHARE * self.num_packets):
            raise InputError(f"{self.path}: its sound ({self.codec}) is damaged: {self.num_damaged} of {self.num_packets} packets cannot be decoded.")

    def _silence(self, num_samples: int) -> Iterator[np.ndarray]:
        if num_samples > MAX_GAP_S * self.sample_rate_hz:
            raise InputError(f"{self.path}: its sound has a gap of {num_samples / self.sample_rate_hz / 3600:.1f} hours.")
        while num_samples > 0:
            size = min(num_samples, self.sample_rate_hz)
            yield np.zeros((size, len(self.channel_names)), np.float32)
            num_samples -= size


def read_mono(reader: SoundReader, rate_hz: int) -> Iterator[np.ndarray]:
    """The stream's downmix (see to_mono) at `rate_hz`, as float32 (n,) blocks in [-1, 1]. Resampled by soxr at its HQ quality, as librosa's
    "soxr_hq"; sample 0 is the stream's sample 0."""
    resampler = soxr.ResampleStream(reader.sample_rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
    for block in reader.blocks():
        yield np.clip(resampler.resample_chunk(to_mono(block, reader.channel_names)), -1, 1)
    yield np.clip(resampler.resample_chunk(np.zeros(0, np.float32), last=True), -1, 1)


def to_mono(samples: np.ndarray, channel_names: tuple[str, ...]) -> np.ndarray:
    """float32 (n,) from float32 (n, num_channels): mono as it is, stereo and surround by MONO_GAINS, unknown layouts by their mean.

    Not scaled down against clipping, so that dialogue in the centre of a 5.1 mix keeps a usable level; the caller clips to [-1, 1].
    """
    if len(channel_names) == 1:
        return np.ascontiguousarray(samples[:, 0])
    if "FL" not in channel_names or "FR" not in channel_names:
        return samples.mean(axis=1, dtype=np.float32)
    gains = np.array([MONO_GAINS.get(name, SURROUND_GAIN) for name in channel_names], np.float32)
    return samples @ gains


def _channel_names(frame: AudioFrame) -> tuple[str, ...]:
    names = tuple(channel.name for channel in frame.layout.channels)
    return USUAL_CHANNELS.get(len(names), names) if set(names) == {"NONE"} else names


class _FloatConverter:
    """float32 (n, num_channels) in [-1, 1] from a frame of any sample format."""

    def __init__(self) -> None:
        self._packer = av.AudioResampler(format="flt")

    def __call__(self, frame: AudioFrame) -> np.ndarray:
        num_channels = frame.layout.nb_channels
        if frame.format.is_planar and num_channels > MAX_PLANES:
            packed = [part.to_ndarray().reshape(-1, num_channels) for part in self._packer.resample(frame)]
            return np.concatenate(packed) if packed else np.zeros((0, num_channels), np.float32)
        array = frame.to_ndarray()
        samples = array.T if frame.format.is_planar else array.reshape(-1, num_channels)
        if samples.dtype == np.uint8:
            return (samples.astype(np.float32) - 128) / 128
        if samples.dtype.kind == "i":
            return (samples / 2.0 ** (8 * samples.itemsize - 1)).astype(np.float32)
        return samples.astype(np.float32)
