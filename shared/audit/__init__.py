"""The audit log of both sides: written, chained, signed and checked."""
