"""Changes of files whose build is known: elements, headers, chunks, directories, lines."""

import gzip
import re
import struct
import zlib

import nibabel
from fuzz_bytes import ANY, EXTREMES, NUMBERS, Change, Random

_BOMB = 10_000_000  # zeros that a small packed file unpacks to

# DICOM

_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV"}
_ITEMS = {b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"}
_TEXT = {b"DS", b"IS", b"CS", b"UI", b"LO", b"SH", b"TM", b"DA", b"PN", b"AS", b"LT"}
_SYNTAXES = (
    "",
    ".1",
    ".2",
    ".1.99",
    ".4.50",
    ".4.51",
    ".4.57",
    ".4.70",
    ".4.80",
    ".4.81",
    ".4.90",
    ".4.91",
    ".4.201",
    ".5",
)
_KINDS = (
    "MONOCHROME1",
    "MONOCHROME2",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_RCT",
    "PALETTE COLOR",
    "ARGB",
    "",
)


def dicom_elements(content: bytes) -> list[tuple[int, bytes, int, int]]:
    """Return the elements of an explicit little-endian file: (begin, VR, begin and end of the value)."""
    found, at = [], 132
    while at + 8 <= len(content):
        vr = content[at + 4 : at + 6]
        if content[at : at + 4] in _ITEMS:
            at += 8
            continue
        if vr in _LONG:
            begin, length = at + 12, int.from_bytes(content[at + 8 : at + 12], "little")
        else:
            begin, length = at + 8, int.from_bytes(content[at + 6 : at + 8], "little")
        inside = vr == b"SQ" or length == 2**32 - 1
        found.append((at, vr, begin, begin if inside else min(begin + length, len(content))))
        at = found[-1][3]
    return found


def element(content: bytes, random_: Random) -> bytes:
    """Give one element another value, with its length."""
    elements = dicom_elements(content)
    if not elements:
        return content
    at, vr, begin, end = random_.choice(elements)
    old = content[begin:end]
    new = _dicom_value(vr, old, random_)
    new += b" " * (len(new) % 2)
    head = content[at:begin]
    if vr in _LONG and len(head) == 12:
        head = head[:8] + (len(new) & 0xFFFFFFFF).to_bytes(4, "little")
    elif len(head) == 8:
        head = head[:6] + (len(new) & 0xFFFF).to_bytes(2, "little")
    return content[:at] + head + new + content[end:]


def _dicom_value(vr: bytes, old: bytes, random_: Random) -> bytes:
    if old.startswith(b"1.2.840.10008.1.2"):
        return f"1.2.840.10008.1.2{random_.choice(_SYNTAXES)}".encode()
    if old.startswith((b"MONO", b"RGB", b"YBR", b"PALETTE")):
        return random_.choice(_KINDS).encode()
    if vr in _TEXT:
        numbers = old.split(b"\\")
        numbers[random_.randrange(len(numbers))] = random_.choice(NUMBERS).encode()
        return random_.choice(
            (b"\\".join(numbers), random_.choice(NUMBERS).encode(), b"\\".join(numbers[:-1]))
        )
    width = 2 if vr in {b"US", b"SS", b"OW"} else 4
    value = (random_.choice(EXTREMES) & (256**width - 1)).to_bytes(width, "little")
    return random_.choice((value, value + old[width:], b"", old + value, old[: len(old) // 2]))


def length(content: bytes, random_: Random) -> bytes:
    """Say another length than the value has."""
    elements = dicom_elements(content)
    if not elements:
        return content
    _at, vr, begin, _ = random_.choice(elements)
    width = 4 if vr in _LONG else 2
    value = random_.choice((0, 1, 2, 255, 65535, 2**31, 2**32 - 1, 2**32 - 2, 4096)) & (256**width - 1)
    return content[: begin - width] + value.to_bytes(width, "little") + content[begin:]


def without_element(content: bytes, random_: Random) -> bytes:
    """Leave one element out."""
    elements = dicom_elements(content)
    if not elements:
        return content
    at, _, _, end = random_.choice(elements)
    return content[:at] + content[end:]


def nested(content: bytes, random_: Random) -> bytes:
    """Put sequences into sequences."""
    elements = dicom_elements(content)
    if not elements:
        return content
    depth = random_.choice((2, 50, 2000))
    tag = random_.choice((b"\x28\x00\x00\x30", b"\x00\x52\x30\x92", b"\x09\x00\x10\x10", b"\x06\x30\x39\x00"))
    begin = tag + b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    at = random_.choice(elements)[0]
    return content[:at] + begin * depth + random_.choice((b"", end * depth)) + content[at:]


# NIfTI


def _nifti_field(content: bytes, random_: Random, of_two: bool) -> bytes:
    header = nibabel.Nifti2Header if of_two else nibabel.Nifti1Header
    fields = header.template_dtype.fields
    dtype, offset = fields[random_.choice(tuple(fields))][:2]
    base, count = (
        (dtype.subdtype[0], int(dtype.itemsize // dtype.subdtype[0].itemsize))
        if dtype.subdtype
        else (dtype, 1)
    )
    at = offset + base.itemsize * random_.randrange(count)
    return content[:at] + _binary(base.kind, base.itemsize, random_) + content[at + base.itemsize :]


def _binary(kind: str, width: int, random_: Random) -> bytes:
    if kind == "f":
        value = random_.choice(
            (0.0, -0.0, 1.0, -1.0, 2.5, 1e-30, 1e30, float("nan"), float("inf"), 1e-3, 1e3)
        )
        return struct.pack("<f" if width == 4 else "<d", value)
    if kind == "i":
        value = random_.choice((*EXTREMES, 4, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 128, 347))
        return (value & (256**width - 1)).to_bytes(width, "little")
    return random_.randbytes(width)


def nifti1(content: bytes, random_: Random) -> bytes:
    """Change a field of the header, as NIfTI-1 has it."""
    return _nifti_field(content, random_, of_two=False)


def nifti2(content: bytes, random_: Random) -> bytes:
    """Change a field of the header, as NIfTI-2 has it."""
    return _nifti_field(content, random_, of_two=True)


def inside(change: Change) -> Change:
    """Return a change of what a packed file holds."""

    def packed(content: bytes, random_: Random) -> bytes:
        try:
            plain = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return content
        return gzip.compress(change(plain, random_), 1, mtime=0)

    return packed


def bomb(content: bytes, random_: Random) -> bytes:
    """Put many zeros behind the header, in few bytes, and claim them or not."""
    try:
        plain = bytearray(gzip.decompress(content))
    except (OSError, EOFError, zlib.error):
        return content
    if random_.random() < 0.5:
        plain[40:56] = struct.pack("<8h", 3, 1000, 1000, random_.choice((4, 2000)), 1, 1, 1, 1)
    return _head_of_bomb(bytes(plain))


_ZEROS: list[bytes] = []


def _head_of_bomb(plain: bytes) -> bytes:
    if not _ZEROS:
        _ZEROS.append(gzip.compress(bytes(_BOMB), 9, mtime=0))
    return gzip.compress(plain, 1, mtime=0) + _ZEROS[0]  # two members are one stream


# PNG


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(content: bytes, random_: Random) -> bytes:
    """Change one chunk, or the order of chunks; the checksums are right."""
    chunks = _chunks(content)
    if not chunks:
        return content
    at = random_.randrange(len(chunks))
    name, data = chunks[at]
    kind = random_.randrange(5)
    if kind == 0:
        del chunks[at]
    elif kind == 1:
        chunks.insert(random_.randrange(len(chunks)), chunks[at])
    elif kind == 2:
        random_.shuffle(chunks)
    elif kind == 3 and name == b"IDAT":
        chunks[at] = name, zlib.compress(random_.choice(ANY)(_inflated(data), random_))
    else:
        chunks[at] = name, random_.choice(ANY)(data, random_)
    return _png(chunks)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


def picture_header(content: bytes, random_: Random) -> bytes:
    """Change size, depth or kind of a PNG; sometimes with many zeros packed."""
    chunks = _chunks(content)
    if not chunks or len(chunks[0][1]) != 13:
        return content
    fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    at = random_.randrange(7)
    fields[at] = random_.choice(EXTREMES) & (0xFFFFFFFF if at < 2 else 0xFF)
    if random_.random() < 0.1:
        fields[:2] = random_.choice(((13000, 13000), (1, 2**31 - 1), (20000, 20000)))
        chunks = [
            (name, zlib.compress(bytes(_BOMB // 2)) if name == b"IDAT" else data) for name, data in chunks
        ]
    chunks[0] = chunks[0][0], struct.pack(">IIBBBBB", *fields)
    return _png(chunks)


# TIFF


def tiff_entry(content: bytes, random_: Random) -> bytes:
    """Change an entry of the first directory: its tag, type, count or value."""
    big = content[2:3] == b"\x2b"
    at = int.from_bytes(content[8:16] if big else content[4:8], "little")
    width = 8 if big else 4
    entry, begin = (20, at + 8) if big else (12, at + 2)
    count = int.from_bytes(content[at:begin], "little")
    if not 0 < count < 100 or begin + entry * count > len(content):
        return content
    place = begin + entry * random_.randrange(count)
    offset, size = random_.choice(((0, 2), (2, 2), (4, width), (4 + width, width), (4 + width, width)))
    value = (random_.choice(EXTREMES) & (256**size - 1)).to_bytes(size, "little")
    return content[: place + offset] + value + content[place + offset + size :]


def jpeg_size(content: bytes, random_: Random) -> bytes:
    """Change the size of a JPEG."""
    match = re.search(rb"\xff[\xc0-\xc2]\x00.\x08", content, re.DOTALL)
    if match is None:
        return content
    size = b"".join((random_.choice(EXTREMES) & 0xFFFF).to_bytes(2, "big") for _ in range(2))
    return content[: match.end()] + size + content[match.end() + 4 :]


# Headers in lines of text


def line(content: bytes, random_: Random) -> bytes:
    """Change a line of the header: its value, its place, or whether it is there."""
    lines = content.split(b"\n", 16)
    at = random_.randrange(max(1, len(lines) - 1))
    kind = random_.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(random_.randrange(len(lines)), lines[at])
    else:
        words = re.split(rb"([ :=]+)", lines[at])
        words[random_.randrange(len(words))] = random_.choice((*NUMBERS, *_WORDS)).encode()
        lines[at] = b"".join(words)
    return b"\n".join(lines)


_WORDS = (
    "MET_DOUBLE",
    "MET_UCHAR",
    "True",
    "False",
    "raw",
    "gzip",
    "ascii",
    "bzip2",
    "hex",
    "LIST",
    "float",
    "double",
)
_WORDS += (
    "x.raw",
    "/etc/passwd",
    "../x.raw",
    "%d",
    "block",
    "none",
    "left-posterior-superior",
    "(1,0,0)",
    "none none",
)


# .npy


def npy_header(content: bytes, random_: Random) -> bytes:
    """Change shape, type or order of a `.npy` file, or nest its header."""
    text = content[10:].partition(b"\n")[0]
    old = random_.choice((rb"\((.*?)\)", rb"'descr': '(.*?)'", rb"(True|False)"))
    new = random_.choice(
        (
            b"(1000000, 1000000)",
            b"(0, 5)",
            b"(-1, 5)",
            b"()",
            b"(5,)",
            b"'<f8'",
            b"'|O'",
            b"'<U5'",
            b"'<c16'",
            b"True",
        )
    )
    header = re.sub(
        old, lambda match: new if match[0][:1] == b"(" else match[0].replace(match[1], new), text, count=1
    )
    if random_.random() < 0.1:
        header = random_.choice((b"(" * 5000, b"{" * 300, b"[" * 90 + b"]" * 90))
    return (
        content[:8]
        + (len(header) + 1 & 0xFFFF).to_bytes(2, "little")
        + header
        + b"\n"
        + content[11 + len(text) :]
    )


# Text


def words(content: bytes, random_: Random) -> bytes:
    """Change a cell, a line or the encoding."""
    kind = random_.randrange(6)
    if kind == 0:
        return content + random_.choice(
            (b'"', b"\0", b"\xff\xfe", b"," * 5000, b"\n" * 5000, b'"' + b"a" * 200_000)
        )
    if kind == 1:
        return (
            random_.choice(
                (b"\xef\xbb\xbf", b"\xff\xfe", b"PK\x03\x04", b"sep=|\n", b"[" * 100_000, b'{"a":' * 50_000)
            )
            + content
        )
    if kind == 2:
        lines = content.split(b"\n")
        random_.shuffle(lines)
        return b"\n".join(lines)
    words = re.split(rb'([,;\t\n":{}\[\]]+)', content)
    words[random_.randrange(len(words))] = random_.choice(
        (*NUMBERS, "null", "true", "{}", "[]", '"', "a|", "C:\\a")
    ).encode()
    return b"".join(words)
