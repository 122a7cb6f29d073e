"""A hospital, or a patient, that withdraws: what a run would be without them."""
