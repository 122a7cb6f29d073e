"""All hospitals of a federation, simulated on one machine."""
