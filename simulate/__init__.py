"""Wardround: all hospitals of a federation, simulated on one machine."""
