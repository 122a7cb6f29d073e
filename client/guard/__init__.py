"""What a hospital lets happen and lets leave, decided and written down."""
