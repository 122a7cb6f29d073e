"""Wardround: what coordinator and hospital must agree on."""
