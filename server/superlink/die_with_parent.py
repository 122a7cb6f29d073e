"""Become another program that the kernel kills when the process that started it dies.

A supervisor that is killed can't stop its child. Run as `python die_with_parent.py PARENT PROGRAM ...`;
imports nothing of the project, so that it starts in milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives execve


def main() -> None:
    """Ask for the signal, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    os.umask(0o077)  # keys and logs are for the coordinator's user only
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    os.execv(program[0], program)  # noqa: S606 - no shell, and the arguments are the supervisor's


if __name__ == "__main__":
    main()
