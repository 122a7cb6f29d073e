"""Bringing the parts of a message, few at a time: Flower's own would serialise all of a model at once."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed

from flwr.supercore.inflatable.inflatable_object import InflatableObject

_AT_ONCE = 2  # as many as Flower: the next part is on its way while one is answered


def upload(objects: Mapping[str, InflatableObject], last: str, push: Callable[[str, bytes], None]) -> None:
    """Bring objects; each is serialised when it is its turn.

    Args:
        objects: By identity.
        last: Identity of the one that is brought when all others are there: whoever sees it has the rest.
        push: Brings one; what it raises ends the upload.
    """

    def bring(identity: str) -> None:
        push(identity, objects[identity].deflate())

    others = [identity for identity in objects if identity != last]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as threads:
        try:
            for future in as_completed([threads.submit(bring, identity) for identity in others]):
                future.result()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    if last in objects:
        bring(last)
