"""How large a job and its model may be, wherever they go."""

LARGEST_JOB = 64 * 2**10
"""Characters of a job's canonical JSON at most."""

LARGEST_MODEL_MB = 2000.0
"""Largest model of any job, in MB (10^6 bytes) of float32 numbers: as many travel each way, each round."""
