"""Seeded changes of any file: its bytes, whatever they stand for."""

import random
from collections.abc import Callable, Sequence

EXTREMES = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    16,
    63,
    64,
    255,
    256,
    1024,
    4095,
    32767,
    32768,
    65535,
    65536,
    2**24,
    2**31 - 1,
)
EXTREMES += (2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "0.0",
    "-0",
    "1e308",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "65536",
    "99999999999",
    "",
)
NUMBERS += (
    "1e400",
    "0x10",
    "1,5",
    "1 2",
    "2147483648",
    "-2147483649",
    "9" * 400,
    "a",
    "\0",
    "é",
    "1\\2\\3\\4\\5\\6\\7",
)
_HEAD = 400  # bytes in which most formats keep their fields
Random = random.Random
Change = Callable[[bytes, Random], bytes]


def flip(content: bytes, random_: Random) -> bytes:
    """Change a few bits or bytes."""
    changed_ = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 4, 16)) if changed_ else 0):
        changed_[_place(content, random_)] ^= random_.choice(
            (1 << random_.randrange(8), random_.randrange(1, 256))
        )
    return bytes(changed_)


def _extreme(content: bytes, random_: Random) -> bytes:
    width = random_.choice((1, 2, 4, 8))
    value = random_.choice(EXTREMES) & (256**width - 1)
    at = _place(content, random_)
    return content[:at] + value.to_bytes(width, random_.choice(("little", "big"))) + content[at + width :]


def _cut(content: bytes, random_: Random) -> bytes:
    return content[: _place(content, random_)]


def _without(content: bytes, random_: Random) -> bytes:
    begin, end = _range(content, random_)
    return content[:begin] + content[end:]


def _twice(content: bytes, random_: Random) -> bytes:
    begin, end = _range(content, random_)
    return content[:end] + content[begin:end] * random_.choice((1, 2, 50)) + content[end:]


def _swapped(content: bytes, random_: Random) -> bytes:
    a, b, c = sorted(_place(content, random_) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _filled(content: bytes, random_: Random) -> bytes:
    begin, end = _range(content, random_)
    return content[:begin] + random_.choice((b"\0", b"\xff", b" ", b"A")) * (end - begin) + content[end:]


def _inserted(content: bytes, random_: Random) -> bytes:
    at = random_.choice((_place(content, random_), len(content)))
    return content[:at] + random_.randbytes(random_.choice((1, 2, 4, 100, 5000))) + content[at:]


def _place(content: bytes, random_: Random) -> int:
    end = min(len(content), _HEAD) if random_.random() < 0.5 else len(content)
    return random_.randrange(end) if end else 0


def _range(content: bytes, random_: Random) -> tuple[int, int]:
    begin = _place(content, random_)
    return begin, min(len(content), begin + random_.choice((1, 2, 4, 16, 64, 512)))


ANY: Sequence[Change] = (
    flip,
    flip,
    flip,
    _extreme,
    _extreme,
    _cut,
    _without,
    _twice,
    _swapped,
    _filled,
    _inserted,
)
