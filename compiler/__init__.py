"""The ONNX compiler: import, quantise, map, allocate, schedule, emit."""
