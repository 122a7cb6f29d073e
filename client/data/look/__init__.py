"""A picture of what a network sees: a contact sheet and a page, for a person's eyes."""

from client.data.look.write import Look, write_look

__all__ = ["Look", "write_look"]
