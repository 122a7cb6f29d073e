"""A run's model for other programs: ONNX, TorchScript, safetensors, a MONAI bundle; signed."""
