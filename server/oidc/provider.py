"""A provider as the coordinator talks to it: its metadata and keys, codes and device codes for ID tokens."""

import asyncio
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from server.oidc.id_token import checked_claims, usable_keys
from server.oidc.settings import OidcError, OidcTable, is_safe

_TIMEOUT_S = 15.0
_LONGEST = 2**20  # bytes of an answer
_DEADLINE_S = 30.0  # for an answer as a whole, however it drips
_METADATA_S = 3600.0  # after which metadata are read again
_AGAIN_S = 5.0  # after which a provider that could not be used is tried again, whoever asks meanwhile
_KEYS_S = 30.0  # for which keys are not read again, whatever a token names
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Metadata:
    """What the provider says of itself (OpenID Connect Discovery 1.0)."""

    authorize: str
    token: str
    keys: str
    device: str
    post_only: bool  # the secret goes in the body, not in a header


@dataclass(frozen=True)
class DeviceCode:
    """What the provider gives a device (RFC 8628).

    Attributes:
        code: Secret.
        user_code: A person types it at `address`.
        whole_address: With the code in it; may be empty.
        seconds: After which it ends.
        interval: Seconds between two questions.
    """

    code: str
    user_code: str
    address: str
    whole_address: str
    seconds: float
    interval: float


class NotYetError(OidcError):
    """Nobody has confirmed a device's code yet; `slower` says that it was asked too often."""

    slower = False


class Provider:
    """One provider.

    Args:
        settings: Of `server.toml`.
        clock: Seconds that only grow.
    """

    def __init__(self, settings: OidcTable, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._metadata: tuple[float, Metadata] | None = None
        self._failed: tuple[float, OidcError] | None = None
        self._reading = asyncio.Lock()
        self._keys: tuple[float, list[dict[str, Any]]] | None = None

    async def offers_devices(self) -> bool:
        """Say whether devices can log in; the provider is asked for all that a log-in needs of it.

        Raises:
            OidcError: It can't be used, or our secret can't be read.
        """
        self.settings.read_secret()
        metadata = await self._read_metadata()
        if not await self._read_keys(fresh=True):
            raise OidcError("the provider has no key that signs ID tokens", where=metadata.keys)
        return bool(metadata.device)

    async def authorize_url(self, redirect: str, *, state: str, nonce: str, challenge: str) -> str:
        """Return where a browser is sent to log in (with PKCE, RFC 7636).

        Raises:
            OidcError: The provider can't be reached, or says nothing of use.
        """
        metadata = await self._read_metadata()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{metadata.authorize}{'&' if '?' in metadata.authorize else '?'}{urlencode(query)}"

    async def by_code(self, code: str, redirect: str, *, verifier: str, nonce: str) -> dict[str, Any]:
        """Return the claims of who has logged in.

        Raises:
            OidcError: The code or the ID token is not valid, or the provider can't be reached.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        return await self._claims(await self._ask_token(form), nonce)

    async def begin_device(self) -> DeviceCode:
        """Return a code that a person confirms in a browser, wherever that is.

        Raises:
            OidcError: The provider has no such flow, or can't be reached.
        """
        metadata = await self._read_metadata()
        if not metadata.device:
            raise OidcError(
                "the provider offers no log-in for devices",
                remedy="Log in with a token, which the operator makes.",
            )
        form = {"scope": " ".join(self.settings.scopes)}
        answer = await self._post(metadata.device, form, metadata)
        address, whole = str(answer.get("verification_uri", "")), answer.get("verification_uri_complete")
        if not is_safe(address):
            raise OidcError("the provider names no address at which a code could be confirmed")
        return DeviceCode(
            code=_text(answer, "device_code"),
            user_code=_text(answer, "user_code"),
            address=address,
            whole_address=str(whole) if whole and is_safe(str(whole)) else "",
            seconds=min(max(_number(answer.get("expires_in"), 600.0), 1.0), 1800.0),
            interval=min(max(_number(answer.get("interval"), 5.0), 1.0), 60.0),
        )

    async def by_device(self, code: str) -> dict[str, Any]:
        """Return the claims of who has confirmed a device's code.

        Raises:
            NotYetError: Nobody has.
            OidcError: It was denied or has ended, or the provider can't be reached.
        """
        answer = await self._ask_token({"grant_type": _DEVICE_GRANT, "device_code": code})
        return await self._claims(answer, None)

    async def _claims(self, answer: Mapping[str, Any], nonce: str | None) -> dict[str, Any]:
        token = _text(answer, "id_token")
        for fresh in (False, True):
            keys = await self._read_keys(fresh=fresh)
            try:
                return checked_claims(
                    token, keys, issuer=self.settings.issuer, client_id=self.settings.client_id, nonce=nonce
                )
            except OidcError:
                if fresh or not self._may_read_keys():  # providers change their keys now and then
                    raise
        raise AssertionError

    async def _ask_token(self, form: dict[str, str]) -> dict[str, Any]:
        metadata = await self._read_metadata()
        return await self._post(metadata.token, form, metadata)

    async def _post(self, url: str, form: dict[str, str], metadata: Metadata) -> dict[str, Any]:
        client, secret = self.settings.client_id, self.settings.read_secret()
        headers = {}
        if secret is None or metadata.post_only:
            form = {**form, "client_id": client} | ({"client_secret": secret} if secret else {})
        else:
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"  # RFC 6749, section 2.3.1
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        return await self._exchange("POST", url, form=form, headers=headers)

    async def _read_metadata(self) -> Metadata:
        async with self._reading:  # whoever comes without a log-in asks for them: once is enough
            now = self._clock()
            if self._metadata is not None and now <= self._metadata[0] + _METADATA_S:
                return self._metadata[1]
            if self._failed is not None and now <= self._failed[0] + _AGAIN_S:
                error = self._failed[1]
                raise OidcError(error.problem, where=error.where, remedy=error.remedy)
            try:
                self._metadata = now, await self._asked_metadata()
            except OidcError as error:
                self._failed = self._clock(), error
                raise
            return self._metadata[1]

    async def _asked_metadata(self) -> Metadata:
        issuer = self.settings.issuer
        found = await self._exchange("GET", issuer.rstrip("/") + _WELL_KNOWN)
        if found.get("issuer") != issuer:
            raise OidcError(f"the provider calls itself {str(found.get('issuer'))[:200]!r}", where=issuer)
        methods = found.get("token_endpoint_auth_methods_supported")
        methods = methods if isinstance(methods, list) else ["client_secret_basic"]
        return Metadata(
            authorize=_address(found, "authorization_endpoint"),
            token=_address(found, "token_endpoint"),
            keys=_address(found, "jwks_uri"),
            device=_address(found, "device_authorization_endpoint", needed=False),
            post_only="client_secret_basic" not in methods and "client_secret_post" in methods,
        )

    async def _read_keys(self, *, fresh: bool) -> list[dict[str, Any]]:
        if self._keys is None or (fresh and self._may_read_keys()):
            metadata = await self._read_metadata()
            found = usable_keys(await self._exchange("GET", metadata.keys))
            self._keys = self._clock(), found
        return self._keys[1]

    def _may_read_keys(self) -> bool:
        return self._keys is None or self._clock() > self._keys[0] + _KEYS_S

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        form: dict[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the provider's answer, of limited length; it is sent on to no other address.

        Raises:
            NotYetError: It says that nobody has confirmed a code yet.
            OidcError: It can't be reached, refuses, or says nothing of use.
        """
        content, authority = bytearray(), self.settings.authority
        try:  # a context takes long to make: in a thread, as others are waiting
            verify = await asyncio.to_thread(partial(ssl.create_default_context, cafile=authority))
        except OSError as error:
            raise OidcError(f"can't be read as certificates ({error.strerror})", where=authority) from None
        try:
            async with (
                asyncio.timeout(_DEADLINE_S),
                httpx.AsyncClient(verify=verify, timeout=_TIMEOUT_S) as client,
                client.stream(
                    method, url, data=form, headers={"accept": "application/json", **(headers or {})}
                ) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > _LONGEST:
                        raise OidcError("the provider's answer is too long", where=url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise OidcError(f"the provider can't be reached ({type(error).__name__})", where=url) from None
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise OidcError(
                f"the provider's answer is not understood (status {answer.status_code})", where=url
            )
        if not answer.is_success:
            raise _refusal(found, answer.status_code)
        return found


def _refusal(answer: Mapping[str, Any], status: int) -> OidcError:
    code = str(answer.get("error", ""))[:100]
    if code in {"authorization_pending", "slow_down"}:
        error = NotYetError("nobody has confirmed the code yet")
        error.slower = code == "slow_down"
        return error
    said = {"access_denied": "the log-in was denied", "expired_token": "the code has ended; begin again"}
    return OidcError(said.get(code, f"the provider refuses ({code or status})"))


def _address(found: Mapping[str, Any], key: str, *, needed: bool = True) -> str:
    address = found.get(key)
    if address is None and not needed:
        return ""
    if not isinstance(address, str) or not is_safe(address):
        raise OidcError(f"the provider's metadata name no safe {key}")
    return address


def _text(answer: Mapping[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value or len(value) > _LONGEST:
        raise OidcError(f"the provider's answer has no {key}")
    return value


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
