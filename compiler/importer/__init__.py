"""ONNX in, :mod:`hpu.compiler.ir` out: one file for each concern."""
