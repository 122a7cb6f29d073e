"""The coordinator as one service, put together from its folder."""
