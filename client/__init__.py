"""Wardround: what runs in the hospital."""
