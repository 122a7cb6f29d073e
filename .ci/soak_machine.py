"""What a soak does to the machine: a clock for each process, and a small disk."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulate.federation.processes import LocalFederation

DISK = 256  # MiB for the coordinator's folder


class Clocked(LocalFederation):
    """Each of its processes has a clock of its own, which can be turned."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.library = folder / "stepped_clock.so"
        compiler = shutil.which("cc")
        if compiler is None:
            print("no C compiler: clocks are never turned", file=sys.stderr)
            return
        source = Path(__file__).with_name("stepped_clock.c")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", self.library, source], check=True)

    def turn(self, name: str, seconds: int) -> None:
        """Let a process and all that it starts take it to be later by some seconds."""
        with self._clock(name).open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def _clock(self, name: str) -> Path:
        return self.folder / f"{name}.clock"

    def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        if self.library.exists():
            if not self._clock(name).exists():
                self._clock(name).write_bytes(bytes(8))
            os.environ |= {"LD_PRELOAD": str(self.library), "STEPPED_CLOCK": str(self._clock(name))}
        try:
            return super()._start(name, module, *arguments)
        finally:
            os.environ.pop("LD_PRELOAD", None)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Give the coordinator a disk of its own, as root."""
    folder.mkdir()
    size = f"size={DISK}m"
    asked = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(asked, check=False, capture_output=True).returncode:
        print("no root: the disk is never full", file=sys.stderr)
        folder.rmdir()
        yield
        return
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
