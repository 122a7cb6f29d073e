"""The files from which a report's page is made."""
