"""What the environment says of a server, and whether it can be had on this system."""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from serving import store, tracing, workers
from serving.settings import VARIABLES, BadSetting, Settings

LAUNCHED: Final = "BIJECT_LAUNCHED"  # set for a server that `biject serve` has warned of
log = logging.getLogger("biject.deployment")


def checked(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` gives.

    Raises:
        BadSetting: one is malformed, or wants what this system lacks.
    """
    settings = Settings.from_env(environ)
    workers.check_number(settings.workers)
    tracing.check(settings.tracing)
    try:
        return replace(settings, models=store.located(settings.models))
    except store.NotInStore as error:
        raise BadSetting(str(error)) from error


def checked_or_exit() -> Settings:
    """The settings of this process, which ends with a sentence if they are wrong."""
    try:
        return checked(os.environ)
    except BadSetting as error:
        print(f"biject: {error}", file=sys.stderr)
        sys.exit(2)


def warn_if_open(settings: Settings) -> None:
    """Log that anybody may ask, where that is so and nobody has said where the server listens."""
    if not settings.api_keys and LAUNCHED not in os.environ:
        log.warning(
            "anybody who reaches this server may ask: %s is not set, and bentoml serve listens at "
            "all addresses unless told otherwise",
            VARIABLES["api_keys"],
        )
