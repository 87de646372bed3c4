"""Serving: bundles over HTTP, from the command line, and in a process of yours (`open_bundle`)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.local import LocalPair, open_bundle

__all__ = ["LocalPair", "open_bundle"]


def __getattr__(name: str) -> Any:
    """Looked up when it is asked for: whoever wants one module of this room gets that alone."""
    if name in __all__:
        from serving import local

        return getattr(local, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
