"""Wardround: what runs at the coordinator."""
