"""The published tracker once more, in numpy and float64, written from its description.

Evaluation mode, one object, boxes and vectors in the original's order (y, x, h, w), images and maps
with channels last. Weights come from a ``HartPaper`` as a dictionary of arrays.
"""

from __future__ import annotations

import numpy as np

ORDER = [1, 0, 3, 2]  # between xywh and yxhw
BN_EPSILON = 1e-3


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1, groups: int = 1) -> np.ndarray:
    """``x (h, w, c)``, ``kernel (out, c / groups, k, k)``, TensorFlow's SAME padding."""
    size = kernel.shape[-1]
    outputs = -(-x.shape[0] // stride)
    total = max((outputs - 1) * stride + size - x.shape[0], 0)
    padded = np.pad(x, [(total // 2, total - total // 2)] * 2 + [(0, 0)])
    result = []
    for part, filters in zip(np.split(padded, groups, 2), np.split(kernel, groups, 0), strict=True):
        patches = np.lib.stride_tricks.sliding_window_view(part, (size, size), (0, 1))
        patches = patches[::stride, ::stride][:outputs, :outputs]  # (h, w, c, k, k)
        result.append(np.tensordot(patches, filters, ([2, 3, 4], [1, 2, 3])))
    return np.concatenate(result, 2)


def normalise_responses(x: np.ndarray) -> np.ndarray:
    """TensorFlow's local response normalisation: radius 2, bias 1, alpha 2e-5, beta 0.75."""
    result = np.empty_like(x)
    for c in range(x.shape[2]):
        near = x[:, :, max(c - 2, 0) : c + 3]
        result[:, :, c] = x[:, :, c] / (1 + 2e-5 * (near**2).sum(2)) ** 0.75
    return result


class Reference:
    """``weights``: arrays by the names of ``HartPaper.state_dict``; ``size``: glimpse's side."""

    def __init__(self, weights: dict[str, np.ndarray], polynomial: dict, size: int) -> None:
        self.w, self.polynomial, self.size = weights, polynomial, size

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def glimpse(self, frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contrast-normalised ``(g, g, 3)`` of ``frame (H, W, 3)`` and the six numbers."""
        start = box[:2] + [0.00809737, 0.50086582]
        p, q = stride = box[2:] / (self.size - 1)
        sigma = sum(np.array(c) * p**i * q**j for (i, j), c in self.polynomial.items())
        matrices = []
        for axis in range(2):
            centres = start[axis] + np.arange(self.size) * stride[axis]
            pixels = np.arange(frame.shape[axis])[:, None]
            matrix = np.exp(-0.5 * ((pixels - centres) / sigma[axis]) ** 2)
            matrices.append(matrix / (matrix.sum(0) + 1e-8))
        seen = np.einsum("yr,yxc,xs->rsc", matrices[0], frame, matrices[1])
        seen = (seen - seen.min()) / (seen.max() - seen.min() + 1e-5)
        return seen, np.concatenate((start, sigma, stride))

    def trunk(self, glimpse: np.ndarray) -> np.ndarray:
        x = glimpse - glimpse.mean((0, 1))
        for name, stride, groups in (("conv1", 4, 1), ("conv2", 1, 2), ("conv3", 1, 1)):
            weight, bias = self.w[f"backbone.{name}.weight"], self.w[f"backbone.{name}.bias"]
            x = np.maximum(convolve(x, weight, stride, groups) + bias, 0)
            if name != "conv3":
                x = normalise_responses(x)
        return x

    def ventral(self, features: np.ndarray) -> np.ndarray:
        x = convolve(features, self.w["ventral.weight"]) + self.w["ventral.bias"]
        x = (x - self.w["norm.running_mean"]) / np.sqrt(self.w["norm.running_var"] + BN_EPSILON)
        return elu(x * self.w["norm.weight"] + self.w["norm.bias"])

    def dynamic(self, name: str, x: np.ndarray, appearance: np.ndarray, size: int) -> np.ndarray:
        z = elu(self.dense(f"{name}.hidden", appearance))
        kernel = self.dense(f"{name}.filters", z).reshape(-1, x.shape[2], size, size)
        biases = self.dense(f"{name}.biases", z) + self.w[f"{name}.bias"]
        return elu(convolve(x, kernel) + biases)

    def lstm(self, x: np.ndarray, state: tuple) -> tuple[np.ndarray, tuple]:
        """Output, and the averaged (cell, hidden); gates in the order i, j, f, o."""
        cell, hidden = state
        gates = self.w["lstm.weight_input"] @ x + self.w["lstm.weight_hidden"] @ hidden
        i, j, f, o = np.split(gates + self.w["lstm.bias"], 4)
        fresh = cell * sigmoid(f) + sigmoid(i) * np.tanh(j)
        output = np.tanh(fresh) * sigmoid(o)
        return output, (0.05 * cell + 0.95 * fresh, 0.05 * hidden + 0.95 * output)

    def track(self, frames: np.ndarray, box: np.ndarray) -> list[dict[str, np.ndarray]]:
        """``frames (T, H, W, 3)``, ``box`` xywh; per frame what ``HartPaper`` gives in its step."""
        height, width = frames.shape[1:3]
        scale = np.array([height, width, height - 1, width - 1])
        frame_size = np.array([height, width, height, width])
        bias = 0.25 * np.tanh(self.w["window_bias"][ORDER])
        attention = np.array(box)[ORDER] / scale
        # first pass: no mask
        seen, six = self.glimpse(frames[0], attention * scale)
        flat = self.ventral(self.trunk(seen)).reshape(-1)
        v = elu(self.dense("describe.0", np.concatenate((flat, six))))
        v = np.maximum(self.dense("begin.0", v), 0)
        appearance, (cell, hidden) = self.lstm(v, (np.zeros(len(v)), np.zeros(len(v))))
        cell = np.maximum(self.dense("begin_cell.0", cell), 0)
        hidden = np.maximum(self.dense("begin_hidden.0", hidden), 0)
        steps = []
        for t, frame in enumerate(frames):
            window = attention * scale
            seen, six = self.glimpse(frame, window)
            features = self.trunk(seen)
            where = self.dynamic("pointwise", features, appearance, 1)
            where = self.dynamic("spatial", where, appearance, 3)
            logits = convolve(where, self.w["mask.weight"]) + self.w["mask.bias"]
            mask = sigmoid(logits)
            flat = (self.ventral(features) * mask).reshape(-1)
            # the six numbers are yxyxyx here and there
            v = elu(self.dense("describe.0", np.concatenate((flat, six))))
            output, (cell, hidden) = self.lstm(v, (cell, hidden))
            known = elu(self.dense("mask_features.0", mask.reshape(-1)))
            known = np.concatenate((output, known))
            change, correction = (
                np.tanh(self.dense(f"{name}.2", elu(self.dense(f"{name}.0", known))))[ORDER]
                for name in ("move", "correct")
            )
            found = (attention - bias) * scale + correction * frame_size
            steps.append(
                {
                    "boxes": np.array(box) if t == 0 else found[ORDER],
                    "windows": window[ORDER],
                    "reported": ((attention + bias * (t == 0)) * scale)[ORDER],
                    "mask": logits[:, :, 0],
                    "glimpses": seen.transpose(2, 0, 1),
                }
            )
            attention = attention + sigmoid(self.w["gain"][ORDER]) * change
            appearance = output
        return steps
