"""Draws networks layer by layer as OpenVINO graphs: no tracing, so what is computed is what is written here."""

from typing import Any

import numpy as np
from torch import nn

from wav2lip_core.blocks import ConvBlock, UpBlock
from wav2lip_core.generator import WINDOW_LEVEL, LipGenerator, mouth_window
from wav2lip_core.mel import NUM_BANDS, WINDOW_COLUMNS

_SMALLEST = 1e-12


class Layers:
    """Draws the blocks that our networks are made of. ranges: (low, high) of the input of each convolution that is to be int8, by the convolution."""

    def __init__(self, openvino: Any, ranges: dict[nn.Module, tuple[float, float]] | None = None) -> None:
        from openvino import opset13  # pyright: ignore[reportMissingImports]

        self.openvino, self.ops, self.ranges = openvino, opset13, ranges or {}

    def through(self, layers: nn.Module, x: Any) -> Any:
        """x after one layer, or after a sequence of them; batch norm must be folded."""
        for layer in layers.children() if isinstance(layers, nn.Sequential) else [layers]:
            if not isinstance(layer, (ConvBlock, UpBlock)):
                x = self._convolved(layer, x)
                continue
            out = self._convolved(layer.conv_block[0], x)
            if isinstance(layer, ConvBlock) and layer.residual:
                out = self.ops.add(out, x)
            x = self.ops.relu(out)
        return x

    def _convolved(self, conv: Any, x: Any) -> Any:
        ops, pads, strides = self.ops, list(conv.padding), list(conv.stride)
        is_transposed = isinstance(conv, nn.ConvTranspose2d)
        weight = ops.constant(conv.weight.detach().numpy())
        if conv in self.ranges:
            x, weight = self._in_steps(x, *self.ranges[conv]), self._weight_in_steps(conv, 1 if is_transposed else 0)
        if is_transposed:
            out = ops.convolution_backprop_data(x, weight, strides, None, pads, pads, [1, 1], "explicit", list(conv.output_padding))
        else:
            out = ops.convolution(x, weight, strides, pads, pads, [1, 1])
        return ops.add(out, ops.constant(conv.bias.detach().numpy().reshape(1, -1, 1, 1)))

    def _in_steps(self, x: Any, low: float, high: float) -> Any:
        """x clipped to [low, high] in 256 steps; 0 is one of them."""
        if low < 0:
            high = max(high, -low)
            low = -high * 128 / 127
        limits = [self.ops.constant(np.float32(limit)) for limit in (low, high)]
        return self.ops.fake_quantize(x, *limits, *limits, 256)

    def _weight_in_steps(self, conv: Any, channel_axis: int) -> Any:
        """The weight in 255 steps about 0, each output channel in its own."""
        weight = conv.weight.detach().numpy()
        others = tuple(axis for axis in range(4) if axis != channel_axis)
        largest = np.maximum(np.abs(weight).max(axis=others, keepdims=True), _SMALLEST).astype(np.float32)
        limits = [self.ops.constant(-largest), self.ops.constant(largest)]
        return self.ops.fake_quantize(self.ops.constant(weight), *limits, *limits, 255)


class Drawing(Layers):
    """The lip generator. model: with batch norm folded. ranges: see Layers, by the convolution's name."""

    def __init__(self, openvino: Any, model: LipGenerator, ranges: dict[str, tuple[float, float]]) -> None:
        modules = dict(model.named_modules())
        super().__init__(openvino, {modules[name]: limits for name, limits in ranges.items()})
        self.model = model

    def draw(self, batch_size: int) -> Any:
        """openvino.Model of (mel, face) float32 -> the painted faces, float32."""
        size, config, ops = self.model.config.face_size, self.model.config, self.ops
        mel = ops.parameter([batch_size, 1, NUM_BANDS, WINDOW_COLUMNS], np.float32, name="mel")
        face = ops.parameter([batch_size, 6, size, size], np.float32, name="face")
        skips, x = [], face
        for block in self.model.face_encoder_blocks:
            x = self.through(block, x)
            skips.append(x)
        x = self.through(self.model.audio_encoder, mel)
        for block in self.model.face_decoder_blocks:
            skip = skips.pop()
            width = _width(skip)
            if config.painted == "mouth" and width * WINDOW_LEVEL > size:
                skip = self._window(skip, width)
            x = ops.concat([self.through(block, x), skip], 1)
            if config.painted == "mouth" and width * WINDOW_LEVEL == size:
                x = self._window(x, width)
        painted = ops.sigmoid(self.through(self.model.output_block[:2], x))
        return self.openvino.Model([self._edited(painted, face)], [mel, face], "lip generator")

    def _edited(self, painted: Any, face: Any) -> Any:
        config, ops = self.model.config, self.ops
        if config.output == "colour":
            return painted
        colour, mask, reference = self._channels(painted, 0, 3), self._channels(painted, 3, 4), self._channels(face, 3, 6)
        if config.articulation != 1:
            mask = ops.multiply(mask, ops.constant(np.float32(config.articulation)))
        rows, columns = slice(0, config.face_size), slice(0, config.face_size)
        if config.painted == "mouth":
            rows, columns = mouth_window(config.face_size, config.face_size)
            whole, reference = reference, self._window(reference, config.face_size)
        edited = ops.add(reference, ops.multiply(mask, ops.subtract(colour, reference)))
        if config.articulation > 1:
            edited = ops.clamp(edited, 0.0, 1.0)
        if config.painted == "all":
            return edited
        begin, end = [0, 0, rows.start, columns.start], [0, 0, config.face_size - rows.stop, config.face_size - columns.stop]
        hole = np.ones((1, 1, config.face_size, config.face_size), np.float32)
        hole[:, :, rows, columns] = 0
        return ops.add(ops.multiply(whole, ops.constant(hole)), ops.pad(edited, begin, end, "constant", ops.constant(np.float32(0))))

    def _window(self, x: Any, width: int) -> Any:
        rows, columns = mouth_window(width, self.model.config.face_size)
        return self.ops.slice(x, [rows.start, columns.start], [rows.stop, columns.stop], [1, 1], [2, 3])

    def _channels(self, x: Any, first: int, end: int) -> Any:
        return self.ops.slice(x, [first], [end], [1], [1])


def _width(x: Any) -> int:
    return list(x.get_output_shape(0))[3]
