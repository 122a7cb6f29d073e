"""The service of a site: one long-lived process, its health, its state and its certificate."""
