"""Which model said it: how files in DICOM name it, and how they are named after it."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from highdicom import AlgorithmIdentificationSequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from client.data.images.file_hash import content_hash
from shared.finished_run import FinishedRun, Which

RESEARCH = "Research use only"
_UTF8 = "ISO_IR 192"
_TEXT = 64  # characters of a long string (LO, PS3.5 6.2)
_UUID = 16  # bytes


@dataclass(frozen=True)
class Maker:
    """The model of a run.

    Attributes:
        name: The job's.
        digest: SHA-256 of the model's file.
    """

    name: str
    digest: str

    @classmethod
    def of(cls, run: FinishedRun, which: Which) -> Self:
        """Return what names a model of a run."""
        return cls(run.job.job.name, content_hash(run.file(which)))

    @property
    def version(self) -> str:
        """The digest, as short as it is in pages."""
        return self.digest[:_UUID]

    @property
    def title(self) -> str:
        """What a series of its results is called."""
        return f"{RESEARCH}: {self.name}"[:_TEXT]

    def algorithm(self) -> AlgorithmIdentificationSequence:
        """Return the algorithm identification (PS3.3 10.16)."""
        return AlgorithmIdentificationSequence(
            name=self.name[:_TEXT],
            family=codes.DCM.ArtificialIntelligence,
            version=self.version,
            source="Wardround",
            parameters={"use": "research only", "model": self.digest},
        )

    def equipment(self) -> dict[str, Any]:
        """Return what every object says of the program that made it."""
        return {
            "manufacturer": "Wardround",
            "manufacturer_model_name": self.name[:_TEXT],
            "software_versions": software_version(),
            "device_serial_number": self.version,
            "specific_character_set": _UTF8,  # whatever the images' is: names of classes may have any letter
        }

    def uid(self, *parts: str | bytes) -> UID:
        """Return a UID that is the same for the same model and the same parts (PS3.5 B.2)."""
        digest = hashlib.sha256(self.digest.encode())
        for part in parts:
            content = part.encode() if isinstance(part, str) else part
            digest.update(len(content).to_bytes(8, "big") + content)
        return UID(f"2.25.{int.from_bytes(digest.digest()[:_UUID], 'big')}")


def software_version() -> str:
    """Return the version of Wardround that is installed."""
    try:
        return version("wardround")
    except PackageNotFoundError:
        return "unknown"
