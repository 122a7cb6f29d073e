"""Numbers for Prometheus: where a side publishes them, and what its audit log counts."""
