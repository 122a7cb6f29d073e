"""Limits that both sides know: of a job and its model, and of how far counts are rounded."""

LARGEST_JOB = 64 * 2**10
"""Characters of a job's canonical JSON at most."""

LARGEST_MODEL_MB = 2000.0
"""Largest model of any job, in MB (10^6 bytes) of float32 numbers: as many travel each way, each round."""

MOST_ROUNDING = 10
"""Counts of patients and images leave a site rounded to multiples of this at most."""
