"""Weights of files that jobs start from, of which something stays as it is: sent once, and kept here."""

from collections.abc import Iterable
from pathlib import Path

import safetensors
import safetensors.torch
from flwr.app import RecordDict
from torch import Tensor

from client.settings.policy import PolicyError
from shared.errors import JobError, SiteError
from shared.files import replace_file
from shared.networks.build import Files
from shared.networks.start_weights import digest_of
from shared.start_files import read_start
from shared.wire.messages import MessageError
from shared.wire.starts_message import starts_in

_ASK = "Ask the coordinator which file it has under that name."
_MOST = 8  # files that are kept; what was used longest ago goes first


class StartStore:
    """The weights that a site has, by the SHA-256 that approved jobs have of them.

    Args:
        folder: Made when it is needed. None keeps nothing, as in a simulation: each message brings them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._whole: set[str] = set()  # files that were read, and found to be what their names say

    def at_hand(self, digests: Iterable[str]) -> list[str]:
        """Return those weights that need not be sent; a file that is damaged is removed."""
        return [digest for digest in digests if self._is_whole(digest)]

    def take(self, digests: Iterable[str], content: RecordDict) -> Files:
        """Return the tensors of weights, and keep those that a message has brought.

        Args:
            digests: Of an approved job.
            content: Of the message.

        Raises:
            MessageError: Some are neither here nor in the message, or can't be read.
            PolicyError: The message has others than those that the job names.
            SiteError: They can't be kept.
        """
        found: dict[str | None, dict[str, Tensor]] = {}
        brought: dict[str, bytes] | None = None
        for digest in digests:
            if self._is_whole(digest):
                found[digest] = read_start(self._path(digest))
            else:
                brought = starts_in(content) if brought is None else brought
                found[digest] = _checked(digest, brought.get(digest))
                self._keep(digest, brought[digest])
        return found

    def _is_whole(self, digest: str) -> bool:
        if self._folder is None or not (path := self._path(digest)).is_file():
            return False
        if digest not in self._whole:
            try:
                is_whole = digest_of(read_start(path)) == digest
            except JobError:
                is_whole = False
            if not is_whole:
                path.unlink(missing_ok=True)
                return False
            self._whole.add(digest)
        path.touch()
        return True

    def _keep(self, digest: str, content: bytes) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path(digest), content)
            files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in files[:-_MOST]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise SiteError(
                f"the weights that a job starts from can't be kept ({error.strerror})", where="state/starts"
            ) from None
        self._whole.add(digest)

    def _path(self, digest: str) -> Path:
        assert self._folder is not None  # noqa: S101 (asked before)
        return self._folder / f"{digest}.safetensors"  # the digest is an approved job's


def _checked(digest: str, content: bytes | None) -> dict[str, Tensor]:
    if content is None:
        raise MessageError("brings none of the weights that its job starts from, and they are not here")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
    except (ValueError, safetensors.SafetensorError) as error:
        raise MessageError(f"brings weights that can't be read ({error})") from None
    if digest_of(tensors) != digest:
        raise PolicyError("job.model: the weights that came are not those of start_sha256", remedy=_ASK)
    return tensors
