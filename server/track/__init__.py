"""Wardround's runs in the trackers that researchers keep: TensorBoard, MLflow, Weights & Biases."""
