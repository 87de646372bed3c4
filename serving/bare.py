"""The service under plain uvicorn: `python -m serving.bare --host ADDRESS --port PORT`.

The same app as in front of BentoML, with the same settings from the environment, without BentoML:
nothing of it is imported.  `biject serve --bare` becomes this.
"""

import os
import signal
import sys
from typing import Final

import click
import uvicorn
from starlette.types import ASGIApp

from serving import draining, garbage, head, logs, tracing, workers
from serving.app import standalone
from serving.deployment import Deployment
from serving.environment import checked, checked_or_exit

_OF_UVICORN: Final = "uvicorn.error"  # its logger for all that is no access
_HUNG: Final = 30  # seconds without a sign of life: a worker so long busy is no good any more


def app() -> ASGIApp:
    """The app of one worker, which uvicorn asks for in each."""
    settings = checked(os.environ)
    logs.configure(settings, _OF_UVICORN)
    garbage.collect_seldom()
    crew = workers.crew(settings.workers) if settings.workers > 1 else None
    return tracing.traced(standalone(Deployment(settings, crew=crew)), settings)


@click.command()
@click.option("--host", required=True, help="Address to listen at.")
@click.option("--port", type=int, required=True)
@click.option("--tls-cert", help="Certificate chain, PEM.")
@click.option("--tls-key", help="Its private key, PEM.")
def main(host: str, port: int, tls_cert: str | None, tls_key: str | None) -> None:
    """Serve until stopped, as the environment says."""
    settings = checked_or_exit()
    logs.configure(settings, _OF_UVICORN)
    if settings.workers > 1:  # workers find out as they import prometheus_client
        os.environ[workers.FIGURES] = str(workers.shared_folder(os.getpid()))
    # uvicorn raises the signal again that it ended on: that is no failure.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    uvicorn.run(
        "serving.bare:app",
        factory=True,
        host=host,
        port=port,
        workers=settings.workers,
        http=head.PATH,
        ws="none",
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        log_config=None,
        access_log=False,
        proxy_headers=settings.tracing is not None,  # nothing else looks at who asks
        server_header=False,
        timeout_graceful_shutdown=draining.SERVER_GRACE,
        timeout_worker_healthcheck=_HUNG,
    )


if __name__ == "__main__":
    main()
