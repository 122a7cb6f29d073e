"""A picture of what a network sees: a contact sheet and a page, for a person's eyes."""

from client.data.look.write import Look, contact_picture, write_look

__all__ = ["Look", "contact_picture", "write_look"]
