"""Fetching the parts of a message: a large array is filled as its pieces come.

Flower's own inflating holds an array three times: as pieces, joined, and as a copy of that.
"""

import io
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from flwr.app import Array
from flwr.app.message.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_object_body,
    get_object_head_values_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

_AT_ONCE = 2  # as many as Flower: the next piece is on its way while one is checked

Pull = Callable[[str], bytes]
"""Fetches one object by its identity, and has checked that it is that one."""


def download(tree: ObjectTree, pull: Pull) -> InflatableObject:
    """Fetch an object with all that belongs to it.

    Raises:
        Exception: Whatever `pull` raises, and what Flower's parsers make of content that is not an object.
    """
    contents: dict[str, bytes] = {}
    arrays: dict[str, InflatableObject] = {}
    branches = [tree]
    while branches:
        branch = branches.pop()
        content = pull(branch.object_id)
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == Array.__qualname__:
            arrays[branch.object_id] = _array(content, children, pull)
        else:
            contents[branch.object_id] = content
            branches.extend(branch.children)
    return inflate_object_from_contents(tree.object_id, contents, objects=arrays)


def _array(content: bytes, children: Sequence[str], pull: Pull) -> Array:
    """Return the array whose description this is."""
    about = json.loads(get_object_body(content, Array))
    data = io.BytesIO()
    for piece in _pieces([children[index] for index in about["arraychunk_ids"]], pull):
        data.write(piece)
    # Without a copy: BytesIO hands out what it holds, as long as nobody writes to it.
    return Array(str(about["dtype"]), tuple(about["shape"]), str(about["stype"]), data.getvalue())


def _pieces(identities: Sequence[str], pull: Pull) -> Iterator[bytes]:
    """Yield pieces of an array in their order; those that are the same are fetched once."""
    uses = Counter(identities)
    kept: dict[str, bytes] = {}
    order = deque(identities)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download") as threads:
        coming: deque[tuple[str, Future[bytes]]] = deque()
        try:
            for wanted in dict.fromkeys(identities):
                coming.append((wanted, threads.submit(pull, wanted)))
                if len(coming) < _AT_ONCE:
                    continue
                yield from _arrived(coming, kept, order, uses)
            while coming:
                yield from _arrived(coming, kept, order, uses)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _arrived(
    coming: deque[tuple[str, Future[bytes]]], kept: dict[str, bytes], order: deque[str], uses: Counter[str]
) -> Iterator[bytes]:
    """Wait for the next piece; yield it, and what is known already and follows it."""
    identity, future = coming.popleft()
    kept[identity] = get_object_body(future.result(), ArrayChunk)
    while order and order[0] in kept:
        piece = order.popleft()
        yield kept[piece]
        uses[piece] -= 1
        if not uses[piece]:
            del kept[piece]
