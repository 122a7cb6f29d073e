"""A question's content as one object instead of six, for many sites at once.

Flower carries every record, array and chunk of a message as an HTTP request of its own, and each request
costs the SuperLink 10 to 20 ms of one core. A model for many sites travels as one parcel that all of them
fetch; a large one stays in the chunks that Flower makes, so that no request gets too big.
"""

from flwr.app import ConfigRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, validate_object_content

LARGEST = 8 * 2**20
"""Bytes of a content that is still wrapped."""

_PARCEL, _OBJECTS = "parcel", "objects"


def wrap(content: RecordDict) -> RecordDict:
    """Return a content as a parcel, or as it is where that would be too large."""
    objects = [item.deflate() for item in get_all_nested_objects(content).values()]
    if sum(map(len, objects)) > LARGEST:
        return content
    return RecordDict({_PARCEL: ConfigRecord({_OBJECTS: objects})})


def read_parcel(record: ConfigRecord) -> RecordDict:
    """Return what is in the one record of a parcel.

    Raises:
        ValueError: It is no parcel, or came damaged.
    """
    try:
        objects = list(record[_OBJECTS])
        for item in objects:
            validate_object_content(item)
        contents = {get_object_id(item): item for item in objects}
        content = inflate_object_from_contents(get_object_id(objects[-1]), contents)
    except Exception:  # whatever Flower's parsers make of what came
        raise ValueError("holds a parcel that can't be read") from None
    if not isinstance(content, RecordDict):
        raise ValueError("holds a parcel of something else")  # noqa: TRY004 (it came over the network)
    return content
