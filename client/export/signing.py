"""Signatures of exports, in the format of OpenSSF Model Signing: one file with the digest of every other.

The key is EC P-384, as those of the federation are: `model-signing` knows elliptic curves of NIST and
certificates, and no Ed25519.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from shared.errors import WardroundError
from shared.pki.certificates import load_key, new_key, save_key, write_file

SIGNATURE = "model.sig"
_REMEDY = "pip install 'wardround[export]'"
_CHANGED = re.compile(r"Hash mismatch for '([^']*)'")
_OTHERS = re.compile(r"((?:Extra|Missing) files [^:]*: [^\"]*)")


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
    configured.set_hashing_config(_hashing(folder)).sign(folder, folder / SIGNATURE)


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
    verifying = _library().verifying
    try:
        known = _public(path)
        configured = verifying.Config().use_elliptic_key_verifier(public_key=path)
        configured.set_hashing_config(_hashing(folder)).verify(folder, signature)
    except InvalidSignature:
        raise SignatureError("is not signed with this key, or was changed", where=signature) from None
    except (ValueError, KeyError, TypeError, OSError, AttributeError, IndexError) as error:
        raise SignatureError(_reason(str(error)), where=folder, remedy=_trust(str(error))) from None
    return _fingerprint(known)


def _reason(said: str) -> str:
    """Return in our words what `model-signing` found."""
    if "Key mismatch" in said:
        return "is signed with another key than the one that is trusted"
    found = [f"'{name}' was changed since" for name in _CHANGED.findall(said)]
    found += [text.strip("'] ") for text in _OTHERS.findall(said)]
    if found:
        return "is not what was signed: " + "; ".join(found)
    return f"the signature can't be read ({said.splitlines()[0][:200] if said else 'damaged'})"


def _trust(said: str) -> str | None:
    return "Give the signer's public key with --key." if "Key mismatch" in said else None


def _hashing(folder: Path) -> Any:
    """Return how the files are hashed: all of them, hidden ones and those of Git too, but the signature."""
    return _library().hashing.Config().set_ignored_paths(paths=[folder / SIGNATURE], ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing  # noqa: PLC0415 (of the extra, and half a second)
    except ImportError as error:
        raise SignatureError(f"signatures need the package '{error.name}'", remedy=_REMEDY) from None
    return model_signing


def _public(path: Path) -> EllipticCurvePublicKey:
    key = serialization.load_pem_public_key(path.read_bytes())
    if not isinstance(key, EllipticCurvePublicKey):
        raise SignatureError("is not a public key of an elliptic curve", where=path)
    return key


def _pem(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _fingerprint(key: EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()
