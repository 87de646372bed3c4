"""Who may ask: keys, kept as hashes, and how much each of them may.

A key comes as `Authorization: Bearer KEY` or `X-API-Key: KEY`.  An API key opens all but the
loading and unloading of models; an admin key opens everything.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from serving.errors import Forbidden, RateExceeded, Unauthorised

if TYPE_CHECKING:  # settings hold keys
    from serving.settings import Settings

# Paths that want no key: health, and what describes the software rather than this server.
OPEN_PATHS: Final = frozenset(
    {
        *("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"),
        *("/", "/docs", "/openapi.json", "/favicon.ico"),
    }
)
OPEN_FOLDERS: Final = ("/page/",)  # the files of the page
# Paths that want a key and take nothing of its rate: who watches must see most when it is used up.
FREE_PATHS: Final = frozenset({"/metrics"})

_KEY: Final = re.compile(r"(?:([a-z0-9][a-z0-9_-]{0,31}):)?([A-Za-z0-9._~+/-]+=*)")  # RFC 6750, 2.1
_IN_A_TEXT: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")
_TELLING: Final = 8  # characters: shorter keys are words that a log is full of
_HIDDEN: Final = "[a key]"
_BURST: Final = 2.0  # seconds: what a key has not used of its rate is kept so long


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is remembered: nobody can read it back."""

    name: str  # for figures
    digest: bytes  # SHA-256
    length: int  # characters

    @classmethod
    def of(cls, entry: str) -> "Key":
        """The key of an entry `KEY` or `NAME:KEY`.

        Without a name it goes by the first 8 digits of its hash.
        Raises ValueError, without the key, if it is no such entry.
        """
        match = _KEY.fullmatch(entry)
        if match is None:
            raise ValueError("it must be KEY or NAME:KEY, KEY of letters, digits and -._~+/")
        digest = _digest(match[2])
        return cls(match[1] or digest.hex()[:8], digest, len(match[2]))


def keys(entries: Iterable[str | Key]) -> tuple[Key, ...]:
    """The keys of entries, hashed where they are not yet.

    Raises ValueError, which gives the number of the entry and not the key, if one is no such.
    """
    found = []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(entry if isinstance(entry, Key) else Key.of(entry))
        except ValueError as error:
            raise ValueError(f"entry {number} is no good: {error}") from None
    return tuple(found)


class Keyring:
    """Those who may ask, and what is left of each one's rate.

    Args:
        settings: The server's; without API keys everybody may ask.
        clock: Seconds.
    """

    def __init__(self, settings: "Settings", clock: Callable[[], float] = time.monotonic) -> None:
        users, rate = keys(settings.api_keys), settings.rate_limit
        self.closed = bool(users)
        self._keys = (*keys(settings.admin_keys), *users)
        self._buckets = {key.digest: Bucket(rate, clock) for key in users if rate is not None}

    def admit(self, headers: Mapping[bytes, str], path: str = "") -> "Caller":
        """Whoever sends these headers, by their names in small letters, to `path`.

        Raises:
            Unauthorised: no key among them, or one that is not known.
            RateExceeded: the key has used up its rate.
        """
        given = _given(headers.get(b"x-api-key"), headers.get(b"authorization"))
        key = _known(given, self._keys)
        if key is None:
            raise _unauthorised(given)
        return Caller(key.name, None if path in FREE_PATHS else self._buckets.get(key.digest))


class Bucket:
    """A rate in images a second: what is not used is kept, for a while, and debts are paid off."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(1.0, rate * _BURST)
        self._left = self._most
        self._clock = clock
        self._seen = clock()

    def take(self, images: int, *, taken: int = 0) -> None:
        """Take so many for a request that has `taken` some; what the bucket cannot hold is owed.

        Raises RateExceeded, which says when to come back; then nothing was taken.
        """
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._seen) * self._rate)
        self._seen = now
        # Nobody must wait for what never comes: what a full bucket is to be enough for.
        wanted = min(taken + images, self._most) - taken
        if self._left < wanted:
            raise RateExceeded(
                f"this key may have {self._rate:g} images a second",
                retry_after=(wanted - self._left) / self._rate,
            )
        self._left -= images

    def give_back(self, images: int) -> None:
        """So many were taken for nothing."""
        self._left = min(self._most, self._left + images)


class Caller:
    """Whose request it is; it has paid for one image, and pays for others as they are known."""

    __slots__ = ("_bucket", "_paid", "images", "name")

    def __init__(self, name: str, bucket: Bucket | None) -> None:
        self.name = name
        self.images = 0  # that were computed
        self._bucket = bucket
        self._paid = 1  # images
        if bucket is not None:
            bucket.take(1)

    def pay(self, images: int) -> None:
        """Before so many are computed.  Raises RateExceeded if the key has used up its rate."""
        owed = self.images + images - self._paid
        if self._bucket is not None and owed > 0:
            self._bucket.take(owed, taken=self._paid)
        self.images += images
        self._paid = max(self._paid, self.images)

    def give_back(self, images: int) -> None:
        """What was paid for so many, which were not computed after all; the first stays paid."""
        self.images -= images
        paid = max(1, self.images)
        if self._bucket is not None:
            self._bucket.give_back(self._paid - paid)
        self._paid = paid


def require_admin(headers: Mapping[str, str], settings: "Settings") -> None:
    """Let none but administrators pass.

    Args:
        headers: The request's, whatever the case of their names; small letters in a plain dict.
        settings: The server's.
    Raises:
        Forbidden: there are no admin keys, or the key shown is an API key.
        Unauthorised: no key, or one that is not known.
    """
    if not settings.admin_keys:
        raise Forbidden("nobody may load or unload models here: no admin key is set")
    given = _given(headers.get("x-api-key"), headers.get("authorization"))
    if _known(given, keys(settings.admin_keys)) is not None:
        return
    if _known(given, keys(settings.api_keys)) is not None:
        raise Forbidden("this key may not load or unload models: an admin key is wanted")
    raise _unauthorised(given)


def is_open(path: str) -> bool:
    """Whether this path wants no key."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


class Redaction:
    """Finds keys in texts, by hashes alone: whatever is as long as a key is hashed and compared."""

    def __init__(self, settings: "Settings") -> None:
        known = (*keys(settings.api_keys), *keys(settings.admin_keys))
        telling = [key for key in known if key.length >= _TELLING]
        self._digests = frozenset(key.digest for key in telling)
        self._lengths = sorted({key.length for key in telling}, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without the keys in it."""
        if not self._lengths or len(text) < self._lengths[-1]:
            return text
        return _IN_A_TEXT.sub(lambda run: self._of_run(run[0]), text)

    def _of_run(self, run: str) -> str:
        for length in self._lengths:
            at = 0
            while at + length <= len(run):
                if _digest(run[at : at + length]) in self._digests:
                    run = run[:at] + _HIDDEN + run[at + length :]
                    at += len(_HIDDEN)
                else:
                    at += 1
        return run


def _given(api_key: str | None, authorization: str | None) -> str:
    """The key shown, empty if there is none; X-API-Key first."""
    if api_key:
        return api_key
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _known(given: str, keys: Iterable[Key]) -> Key | None:
    """The key among `keys`; all are compared, each in constant time."""
    digest = _digest(given)
    found = None
    for key in keys:
        if hmac.compare_digest(digest, key.digest):
            found = key
    return found


def _unauthorised(given: str) -> Unauthorised:
    said = "a wrong key" if given else "a key is wanted: Authorization: Bearer KEY, or X-API-Key"
    return Unauthorised(said, headers={"WWW-Authenticate": "Bearer"})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
