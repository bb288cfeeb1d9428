"""The HAI HPU: an open inference accelerator, from ONNX to RTL.

>>> import hpu
>>> session = hpu.InferenceSession("model.onnx")
>>> logits, = session.run(None, {"image": images})
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpu.compiler.calibration import CalibrationSet
    from hpu.compiler.errors import ModelError, UnsupportedError
    from hpu.hw.config import CONFIGS, Config
    from hpu.runtime.errors import HpuError, HpuWarning, InputError, ProgramError
    from hpu.runtime.package import Package
    from hpu.runtime.program import Program
    from hpu.runtime.program_file import load as load_program
    from hpu.runtime.session import InferenceSession
    from hpu.runtime.source import compile_network as compile

__all__ = [
    "CONFIGS",
    "CalibrationSet",
    "Config",
    "HpuError",
    "HpuWarning",
    "InferenceSession",
    "InputError",
    "ModelError",
    "Package",
    "Program",
    "ProgramError",
    "UnsupportedError",
    "compile",
    "load_program",
]

__version__ = "0.1.0"

#: Module and name of everything exported; imported on first use, so that `import hpu` is instant.
_PLACES = {
    "CONFIGS": ("hpu.hw.config", "CONFIGS"),
    "CalibrationSet": ("hpu.compiler.calibration", "CalibrationSet"),
    "Config": ("hpu.hw.config", "Config"),
    "HpuError": ("hpu.runtime.errors", "HpuError"),
    "HpuWarning": ("hpu.runtime.errors", "HpuWarning"),
    "InferenceSession": ("hpu.runtime.session", "InferenceSession"),
    "InputError": ("hpu.runtime.errors", "InputError"),
    "ModelError": ("hpu.compiler.errors", "ModelError"),
    "Package": ("hpu.runtime.package", "Package"),
    "Program": ("hpu.runtime.program", "Program"),
    "ProgramError": ("hpu.runtime.errors", "ProgramError"),
    "UnsupportedError": ("hpu.compiler.errors", "UnsupportedError"),
    "compile": ("hpu.runtime.source", "compile_network"),
    "load_program": ("hpu.runtime.program_file", "load"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'hpu' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
