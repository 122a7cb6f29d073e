"""The job: what a researcher asks for, as validated data."""
