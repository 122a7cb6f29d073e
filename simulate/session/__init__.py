"""One simulation: its hospitals, its rounds, what it is compared with."""
