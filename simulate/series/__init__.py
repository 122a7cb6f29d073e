"""Several runs of one job that answer one question: over seeds, without a site, with fewer sites."""
