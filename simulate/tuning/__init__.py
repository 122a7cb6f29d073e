"""Settings of a job chosen by rehearsals, on validation patients alone."""
