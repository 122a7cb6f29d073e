"""Signatures of exports, in the format of OpenSSF Model Signing: one file with the digest of every other.

The key is EC P-384, as those of the federation are: `model-signing` knows elliptic curves of NIST and
certificates, and no Ed25519.
"""

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from shared.errors import WardroundError
from shared.pki.certificates import load_key, new_key, save_key, write_file

SIGNATURE = "model.sig"
_REMEDY = "pip install 'wardround[export]'"
_MOST_NAMED = 5


class SignatureError(WardroundError):
    """An export that is not what was signed, or whose signature can't be checked."""


def own_key() -> Path:
    """Return where a person's own key lies: below `$XDG_CONFIG_HOME`, or `~/.config`; never in an export."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "wardround" / "signing-key.pem"


def public_file(key: Path) -> Path:
    """Return where the public half of a key lies, which may be given to anybody."""
    return key.with_suffix(".pub")


def prepare_key(key: Path | None) -> Path:
    """Return a key's file; this person's own is made at its first use.

    Raises:
        CredentialError: The file can't be used, or can't be written.
    """
    path = key or own_key()
    if key is None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_key(path, new_key())
    public = load_key(path).public_key()
    if key is None and not public_file(path).exists():
        write_file(public_file(path), _pem(public), 0o644)
    return path


def fingerprint_of(key: Path) -> str:
    """Return the SHA-256 of a private key's public half, by which people compare it."""
    return _fingerprint(load_key(key).public_key())


def sign(folder: Path, key: Path) -> None:
    """Write the signature of all files of a folder into it.

    Raises:
        SignatureError: `model-signing` is missing.
    """
    signing = _library().signing
    configured = signing.Config().use_elliptic_key_signer(private_key=key)
    configured.set_hashing_config(_hashing()).sign(folder, folder / SIGNATURE)


def verify(folder: Path, public: Path | None) -> str:
    """Check that a folder is what was signed with a key; return the key's fingerprint.

    Args:
        folder: The export.
        public: Of whom is trusted; None takes this person's own.

    Raises:
        SignatureError: It is not, or the key is not known.
    """
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise SignatureError(f"has no signature ({SIGNATURE})", where=folder)
    path = public or public_file(own_key())
    if not path.is_file():
        raise SignatureError(
            "no key is known to check the signature by",
            where=path,
            remedy="Give the signer's public key with --key; take it from them, not from beside it.",
        )
    known = _public(path)
    _require_plain(folder)
    verifying = _library().verifying
    configured = verifying.Config().use_elliptic_key_verifier(public_key=path)
    try:
        configured.set_hashing_config(_hashing()).verify(folder, signature)
    except InvalidSignature:
        raise SignatureError("is not signed with this key, or was changed", where=signature) from None
    except (ValueError, LookupError, TypeError, OSError, AttributeError, RecursionError) as error:
        _require_signed(folder, signature)
        if "Key mismatch" in str(error):
            raise SignatureError(
                "is signed with another key than the one that is trusted",
                where=folder,
                remedy="Give the signer's public key with --key.",
            ) from None
        raise SignatureError(f"can't be read ({_first_line(error)})", where=signature) from None
    _require_signed(folder, signature)  # a signer's list of what is not looked at hides nothing
    return _fingerprint(known)


def _require_plain(folder: Path) -> None:
    """Refuse what no export has: links, devices, empty folders.

    Raises:
        SignatureError: There is one, which it names.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise SignatureError(f"is not what was signed: '{name}' is a link", where=folder)
        if path.is_dir() and any(path.iterdir()):
            continue
        if not path.is_file():
            raise SignatureError(f"is not what was signed: '{name}' is not a file of an export", where=folder)


def _require_signed(folder: Path, signature: Path) -> None:
    """Compare the files of a folder with the digests in its signature, whoever has made it.

    Raises:
        SignatureError: Some were changed, are missing or were added; it names them.
    """
    signed = _signed_digests(signature)
    files = (path for path in folder.rglob("*") if path.is_file() and path != signature)
    found = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
    wrong = [f"'{name}' was changed" for name in sorted(found.keys() & signed) if found[name] != signed[name]]
    wrong += [f"'{name}' is missing" for name in sorted(signed.keys() - found)]
    wrong += [f"'{name}' was added" for name in sorted(found.keys() - signed)]
    if wrong:
        more = [f"and {len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
        raise SignatureError(f"is not what was signed: {', '.join(wrong[:_MOST_NAMED] + more)}", where=folder)


def _signed_digests(signature: Path) -> dict[str, str]:
    """Return what a signature says of each file: names and SHA-256.

    Raises:
        SignatureError: It can't be read.
    """
    try:
        envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
        resources = json.loads(base64.b64decode(envelope["payload"], validate=True))["predicate"]["resources"]
        return {str(own["name"]): str(own["digest"]) for own in resources}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise SignatureError(f"can't be read ({_first_line(error)})", where=signature) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _hashing() -> Any:
    """Return how the files are hashed: all of them, hidden ones and those of Git too, but the signature.

    The library takes what is ignored from the model's folder on, however that is given.
    """
    return _library().hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing  # noqa: PLC0415 (of the extra, and half a second)
    except ImportError as error:
        raise SignatureError(f"signatures need the package '{error.name}'", remedy=_REMEDY) from None
    return model_signing


def _public(path: Path) -> EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"is not a public key in PEM form ({_first_line(error)})", where=path) from None
    if not isinstance(key, EllipticCurvePublicKey):
        raise SignatureError("is not a public key of an elliptic curve", where=path)
    return key


def _pem(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _fingerprint(key: EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()
