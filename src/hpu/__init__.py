"""The HAI HPU: an open inference accelerator, from ONNX to RTL."""
