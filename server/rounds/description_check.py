"""What a site may say that it has; without PyTorch, which a run that waits for its sites has not loaded."""

from shared.wire.messages import Description, MessageError

MOST_IMAGES = 2**24  # of one site in one split, 17 million; patients too


def check_description(description: Description) -> None:
    """Check what a site says that it has.

    Raises:
        MessageError: No hospital has so much.
    """
    for what, counts in (("patients", description.patients), ("images", description.examples)):
        for split, count in counts.items():
            if count > MOST_IMAGES:
                raise MessageError(f"describes more {what} ({split}) than {MOST_IMAGES:,}")
