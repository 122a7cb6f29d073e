"""The hospital's own page, on loopback: what waits, what it would do, what was spent, sent and decided."""
