"""Who may do what: the keys that a request shows against those of the settings."""

import hashlib
import hmac
from collections.abc import Mapping

from serving.errors import Forbidden, Unauthorised
from serving.settings import Settings


def require_admin(headers: Mapping[str, str], settings: Settings) -> None:
    """Let pass who shows an admin key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    Raises:
        Forbidden: there is no admin key at all, or the key shown is one for requests only.
        Unauthorised: no key is shown, or one that opens nothing.
    """
    if not settings.admin_keys:
        raise Forbidden("nobody may load or unload models here: no admin key is set")
    given = headers.get("x-api-key", "")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = given or token.strip()
    if _is_among(given, settings.admin_keys):
        return
    if _is_among(given, settings.api_keys):
        raise Forbidden("this key may not load or unload models: an admin key is wanted")
    raise Unauthorised(
        "a wrong key" if given else "an admin key is wanted: Authorization: Bearer KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _is_among(given: str, keys: tuple[str, ...]) -> bool:
    """Every key is compared, each in constant time, whatever their lengths."""
    digest = hashlib.sha256(given.encode()).digest()
    found = [hmac.compare_digest(digest, hashlib.sha256(key.encode()).digest()) for key in keys]
    return any(found)
