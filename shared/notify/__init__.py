"""Telling people what happened, by a command, a webhook or mail: at a site and at a coordinator."""
