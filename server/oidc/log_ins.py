"""Log-ins that are under way: each is begun here, ends here once, and not late."""

import asyncio
import base64
import hashlib
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from server.oidc.accounts import token_for
from server.oidc.provider import DeviceCode, NotYetError, Provider
from server.oidc.settings import OidcError
from server.registry.people import People

_BROWSER_S = 600.0  # seconds in which somebody must have logged in
_MOST, _MOST_EACH = 1000, 20  # under way in all, and begun from one network
_OVER = "this log-in has ended, or was not begun here; begin again"
Kept = TypeVar("Kept")


class UnderWay(Generic[Kept]):
    """What is kept of log-ins under way, by a secret key.

    Nobody needs to be known to begin one. So where there are too many, the oldest ends of the network that
    has begun most: one address ends no log-in of another.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, str, Kept]] = OrderedDict()

    def add(self, kept: Kept, seconds: float, network: str) -> str:
        """Keep something for some seconds; returns its key."""
        key = secrets.token_urlsafe(32)
        self._kept[key] = self._clock() + seconds, network, kept
        if self._count(network) > _MOST_EACH:
            self._end_oldest(network)
        elif len(self._kept) > _MOST:
            [(most, _)] = Counter(own for _, own, _ in self._kept.values()).most_common(1)
            self._end_oldest(most)
        return key

    def is_full(self, network: str) -> bool:
        """Say whether as much is under way from a network as may be."""
        return self._count(network) >= _MOST_EACH

    def _count(self, network: str) -> int:
        now = self._clock()
        for key in [key for key, (ends, _, _) in self._kept.items() if now > ends]:
            del self._kept[key]
        return sum(own == network for _, own, _ in self._kept.values())

    def _end_oldest(self, network: str) -> None:
        del self._kept[next(key for key, (_, own, _) in self._kept.items() if own == network)]

    def of(self, key: str) -> Kept:
        """Return what a key stands for.

        Raises:
            OidcError: Nothing any more.
        """
        ends, _, kept = self._kept.get(key, (0.0, "", None))
        if kept is None or self._clock() > ends:
            self._kept.pop(key, None)
            raise OidcError(_OVER)
        return kept

    def end(self, key: str) -> None:
        """Keep it no more."""
        self._kept.pop(key, None)


@dataclass(frozen=True)
class InBrowser:
    """A log-in of a browser: what must come back, and where the person wanted to go."""

    target: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def challenge(self) -> str:
        """What the provider gets before the verifier (RFC 7636, S256)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass
class OfDevice:
    """A log-in of a device: when the provider may be asked again."""

    code: DeviceCode
    interval: float
    next: float


class LogIns:
    """Log-ins with accounts of a provider.

    Args:
        provider: Whose accounts.
        people: Get a token.
        redirect: Where the provider sends browsers back to.
        clock: Seconds that only grow.
    """

    def __init__(
        self, provider: Provider, people: People, redirect: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title = provider.settings.title
        self._provider = provider
        self._people = people
        self._redirect = redirect
        self._clock = clock
        self._browsers: UnderWay[InBrowser] = UnderWay(clock)
        self._devices: UnderWay[OfDevice] = UnderWay(clock)

    async def begin(self, target: str, network: str) -> tuple[str, str]:
        """Return the key of a browser's log-in, for its cookie, and where the browser goes.

        Args:
            target: Where the person wanted to go.
            network: From which the browser calls.

        Raises:
            OidcError: The provider can't be used.
        """
        log_in = InBrowser(target)
        url = await self._provider.authorize_url(
            self._redirect, state=log_in.state, nonce=log_in.nonce, challenge=log_in.challenge
        )
        return self._browsers.add(log_in, _BROWSER_S, network), url

    async def finish(self, key: str, state: str, code: str, error: str) -> tuple[str, str]:
        """Return a token for who comes back from the provider, and where they wanted to go.

        Raises:
            OidcError: It is not the browser that went, or the provider does not vouch for anybody.
            RegistryError: See `token_for`.
        """
        log_in = self._browsers.of(key)
        self._browsers.end(key)
        if not secrets.compare_digest(state.encode(), log_in.state.encode()):
            raise OidcError(_OVER)
        if error or not code:
            raise OidcError(f"the provider did not log you in ({error[:100] or 'no code'})")
        claims = await self._provider.by_code(
            code, self._redirect, verifier=log_in.verifier, nonce=log_in.nonce
        )
        return await self._token(claims), log_in.target

    async def begin_device(self, network: str) -> tuple[str, DeviceCode]:
        """Return the key of a device's log-in, and what its user must confirm.

        Args:
            network: From which the device calls.

        Raises:
            OidcError: The provider can't be used, or that network has too many log-ins under way: each asks
                the provider for a code.
        """
        if self._devices.is_full(network):
            raise OidcError(
                "too many log-ins of devices are under way from this address",
                remedy="Wait until one ends, or log in with a token.",
            )
        code = await self._provider.begin_device()
        log_in = OfDevice(code, code.interval, self._clock() + code.interval)
        return self._devices.add(log_in, code.seconds, network), code

    async def ask_device(self, key: str) -> str:
        """Return a token once a device's log-in is confirmed.

        Raises:
            NotYetError: It is not.
            OidcError: It was denied, or has ended.
            RegistryError: See `token_for`.
        """
        log_in = self._devices.of(key)
        now = self._clock()
        if now < log_in.next:  # who asks too often does not trouble the provider
            raise NotYetError("nobody has confirmed the code yet")
        log_in.next = now + log_in.interval
        try:
            claims = await self._provider.by_device(log_in.code.code)
        except NotYetError as error:
            log_in.interval += 5.0 if error.slower else 0.0  # RFC 8628, section 3.5
            raise
        except OidcError:
            self._devices.end(key)
            raise
        self._devices.end(key)
        return await self._token(claims)

    async def _token(self, claims: dict[str, object]) -> str:
        return await asyncio.to_thread(partial(token_for, self._people, self._provider.settings, claims))
