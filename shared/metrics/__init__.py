"""Metrics whose states add up over sites."""
