"""ID tokens (OpenID Connect Core 1.0, section 3.1.3.7): whose signature counts, and for whom they are."""

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from server.oidc.settings import OidcError

# Of keys that only the provider has: neither `none` nor HS..., whose key is our secret, or a public one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
_KINDS = ("RSA", "EC", "OKP")
_LEEWAY_S = 60
_LONGEST = 2**16  # characters


def usable_keys(jwks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the keys of a provider that sign ID tokens; others are left out, whatever they are."""
    keys = jwks.get("keys")
    return [
        key
        for key in (keys if isinstance(keys, list) else ())
        if isinstance(key, dict)
        and key.get("kty") in _KINDS
        and key.get("use", "sig") == "sig"
        and _is_read(key)
    ]


def _is_read(key: dict[str, Any]) -> bool:
    """Say whether a key is one: of a set with one that is none the library takes nothing."""
    try:
        KeySet.import_key_set({"keys": [key]})
    except (JoseError, ValueError, TypeError, KeyError):
        return False
    return True


def checked_claims(
    token: str, keys: list[dict[str, Any]], *, issuer: str, client_id: str, nonce: str | None
) -> dict[str, Any]:
    """Return the claims of an ID token that is what it seems to be.

    Args:
        token: As the provider's token endpoint gave it.
        keys: Of the provider, see `usable_keys`.
        issuer: That it must name.
        client_id: For whom it must be.
        nonce: That it must repeat; None in the device flow, which has none.

    Raises:
        OidcError: It is not.
    """
    if len(token) > _LONGEST:
        raise OidcError("the ID token is too long")
    try:
        found = jwt.decode(token, KeySet.import_key_set({"keys": keys}), algorithms=list(ALGORITHMS))
        required: dict[str, Any] = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": client_id},
            "sub": {"essential": True},
            "exp": {"essential": True},
            "iat": {"essential": True},
        }
        if nonce is not None:
            required["nonce"] = {"essential": True, "value": nonce}
        jwt.JWTClaimsRegistry(leeway=_LEEWAY_S, **required).validate(found.claims)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise OidcError(f"the ID token is not valid ({error})") from None
    audience, party = found.claims["aud"], found.claims.get("azp")
    if (isinstance(audience, list) and len(audience) > 1 and party is None) or party not in (None, client_id):
        raise OidcError("the ID token is for another client")
    return dict(found.claims)
