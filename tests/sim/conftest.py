"""The hand-made program of ``tests/product.py`` as a fixture."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _module():
    if "product" not in sys.modules:
        path = Path(__file__).resolve().parents[1] / "product.py"
        spec = importlib.util.spec_from_file_location("product", path)
        sys.modules["product"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["product"])
    return sys.modules["product"]


@pytest.fixture
def product():
    """Makes a hand-made program: ``product(config, rows=…, seed=…)``."""
    return _module().make_product
