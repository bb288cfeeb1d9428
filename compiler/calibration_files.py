"""Calibration samples from files: arrays, images and folders of them."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from hpu.compiler.errors import ModelError
from hpu.runtime.arrays import read_feeds
from hpu.runtime.errors import HpuWarning

__all__ = ["ImageInput", "Scaling", "read_samples"]

ARRAYS = (".npz", ".npy")
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Scaling:
    """From pixels of 0 to 255 to what a network takes: ``(pixel / 255 - mean) / std``.

    Raises
    ------
    ModelError
        When there are neither one nor three numbers, or a deviation is not positive.
    """

    def __init__(self, mean: Sequence[float] = (), std: Sequence[float] = ()):
        self.given = bool(len(mean) or len(std))
        self.mean = np.array(mean if len(mean) else [0], np.float32)
        self.std = np.array(std if len(std) else [1], np.float32)
        for name, values in (("mean", self.mean), ("standard deviation", self.std)):
            if len(values) not in (1, 3) or not np.isfinite(values).all():
                raise ModelError(
                    f"the images' {name} must be one number or three, not {values.tolist()}"
                )
        if not (self.std > 0).all():
            raise ModelError(
                f"the images' standard deviation must be positive, not {self.std.tolist()}"
            )

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """float32 of the shape of ``pixels``, uint8 [height, width, channels]."""
        channels = pixels.shape[2]
        if max(len(self.mean), len(self.std)) > channels:
            raise ModelError(
                f"the images' mean and standard deviation must be one number each, since the "
                f"model's input has {channels} channel"
            )
        return (pixels.astype(np.float32) / np.float32(255) - self.mean) / self.std


class ImageInput(NamedTuple):
    """An input that takes images: its name, and where the axes of an image are."""

    name: str
    height: int
    width: int
    channels: int
    layout: str

    @classmethod
    def of(cls, inputs: Sequence[onnx.ValueInfoProto]) -> "ImageInput":
        """The only input of a model, whose shape says the layout.

        [N, C, H, W] when the second size is 1 or 3, else [N, H, W, C] when the last is, and
        [N, H, W] for one channel without an axis.

        Raises
        ------
        ModelError
            When there are several inputs, or the shape is no image's.
        """
        value = inputs[0]
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        names = [dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for layout in ("NCHW", "NHWC", "NHW"):
            axes = dict(zip(layout, sizes, strict=False))
            channels = axes.get("C", 1)
            fits = len(inputs) == 1 and len(sizes) == len(layout) and channels in (1, 3)
            if fits and axes["H"] and axes["W"]:
                return cls(value.name, axes["H"], axes["W"], channels, layout)
        wanted = ", ".join(
            str(size or name or "?") for size, name in zip(sizes, names, strict=True)
        )
        reason = f"the model's input {value.name!r} has the shape [{wanted}]"
        if len(inputs) != 1:
            reason = f"the model has {len(inputs)} inputs"
        raise ModelError(
            "images are samples for one input of shape [N, C, H, W], [N, H, W, C] or [N, H, W] "
            f"with 1 or 3 channels and known sizes, and {reason}; give .npz files instead"
        )

    def read(self, path: Path, scaling: Scaling) -> np.ndarray:
        """One sample, float32 with a batch axis.

        The whole image is resized to the input's height and width (bilinear, with the filter
        widened when it shrinks), whatever its proportions.

        Raises
        ------
        ModelError
            When the file is no image, or is damaged.
        """
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                mode = "RGB" if self.channels == 3 else "L"
                resized = image.convert(mode).resize(
                    (self.width, self.height), Image.Resampling.BILINEAR
                )
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
            raise ModelError(f"{path} is no image that can be read, or is damaged") from None
        values = scaling.scaled(np.asarray(resized).reshape(self.height, self.width, self.channels))
        if self.layout == "NHW":
            return values[None, :, :, 0]
        return (values.transpose(2, 0, 1) if self.layout == "NCHW" else values)[None]


def read_samples(
    path: str | os.PathLike[str], inputs: Sequence[onnx.ValueInfoProto], scaling: Scaling
) -> Iterator[dict[str, np.ndarray]]:
    """Feeds from a file, or from all files of a folder and the folders in it, sorted by path.

    Raises
    ------
    HpuError
        When a file cannot be read, or a folder holds none.
    """
    names = [value.name for value in inputs]
    files = _files(Path(path))
    if not scaling.given and any(file.suffix.lower() in IMAGES for file in files):
        warnings.warn(
            "the calibration images are read as numbers from 0 to 1 (pixel / 255); give the mean "
            "and standard deviation of the images if the network was trained on others",
            HpuWarning,
            stacklevel=2,
        )
    for file in files:
        if file.suffix.lower() in IMAGES:
            image = ImageInput.of(inputs)
            yield {image.name: image.read(file, scaling)}
        else:
            yield read_feeds(file, names)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    suffixes = (*ARRAYS, *IMAGES)
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
    if not found:
        raise ModelError(
            f"the folder {path} holds no calibration data; put .npz, .npy or image files in it"
        )
    return found
