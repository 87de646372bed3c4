"""The commands of this room: `serve`, and the verbs that need no server."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from serving import aliases
from serving.bundle import Bundle, find_bundles, read
from serving.draining import SERVER_GRACE
from serving.engine import Engine
from serving.environment import LAUNCHED, checked
from serving.errors import BundleError, DeviceError
from serving.offline import encode, interpolate, reconstruct, sample, score
from serving.session import Wrong
from serving.settings import BUNDLES, CHOICES, VARIABLES, BadSetting, Settings

__all__ = ["encode", "interpolate", "reconstruct", "sample", "score", "serve"]

T = TypeVar("T", bound=Callable[..., Any])
ROOT: Final = Path(__file__).resolve().parent.parent  # where `serving` is imported from
_LOOPBACK: Final = ("127.", "::1")
_DEFAULTS: Final = Settings()
_PEM: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

# Each setting is a flag too; what is not given here comes from the environment.
_FLAGS: Final = {
    "default": ("NAME[@VERSION]", "The model that `default` means.  [default: first by name]"),
    "api_keys": ("KEY,...", "Keys, or NAME:KEY; a request must show one.  [default: none needed]"),
    "admin_keys": ("KEY,...", "Keys that load and unload models.  [default: nobody may]"),
    "rate_limit": ("IMAGES", "Images a second that each API key may have.  [default: no limit]"),
    "max_body_bytes": ("BYTES", "Longest request body."),
    "max_images": ("N", "Most images in one request or answer."),
    "max_pixels": ("PIXELS", "Largest image."),
    "max_frames": ("N", "Longest morph."),
    "queue_images": ("N", "Most images that may wait."),
    "deadline_ms": ("MS", "Longest time for a request."),
    "cors_origins": ("ORIGIN,...", "Web origins that browsers may ask from."),
    "workers": ("N", "Server processes."),
    "max_models": ("N", "Most models loaded at a time, per process.  [default: all]"),
    "max_model_bytes": ("BYTES", "Most memory for loaded models, per process.  [default: any]"),
    "threads": ("N", "Engine threads per process on a CPU.  [default: one per core]"),
    "cache": ("DIR", "Folder for the measured costs of batches.  [default: the user's cache]"),
    "device": ("", "cuda refuses to start without one."),
    "log": ("", "Form of the log."),
    "access_log": ("", "Log a line for each request.  [default: no]"),
    "tracing": ("", "Export traces.  [default: none are made]"),
}


def _setting_flags(command: T) -> T:
    """The command with a flag for each setting; help tells the setting's default."""
    for name, (metavar, words) in reversed(_FLAGS.items()):
        kind: Any = click.Choice(CHOICES[name]) if name in CHOICES else None
        if default := getattr(_DEFAULTS, name):
            words = f"{words}  [default: {default}]"
        flag = f"--{name.replace('_', '-')}"
        if default is False:
            flag, kind = f"{flag}/--no-{flag[2:]}", click.BOOL
        command = click.option(flag, name, type=kind, metavar=metavar or None, help=words)(command)
    return command


@click.command()
@click.argument("models", metavar="[MODELS_DIR]", type=click.Path(path_type=Path), required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(1, 65_535), default=3000, show_default=True)
@click.option("--bare", is_flag=True, help="Serve with uvicorn alone, without BentoML.")
@click.option("--tls-cert", type=_PEM, metavar="FILE", help="Certificate chain: serve https.")
@click.option("--tls-key", type=_PEM, metavar="FILE", help="The certificate's private key.")
@_setting_flags
def serve(
    models: Path | None,
    host: str,
    port: int,
    bare: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    **flags: object,
) -> None:
    """Serve the bundles in MODELS_DIR over HTTP until stopped.

    MODELS_DIR holds bundles as NAME/VERSION, or is one bundle; without it the models that come
    with biject are served.

    \b
    Example:
        biject serve my-models --port 3000
    """
    environ = dict(os.environ)
    environ |= {VARIABLES[name]: str(value) for name, value in flags.items() if value is not None}
    if models is not None:
        environ[VARIABLES["models"]] = str(models.expanduser())
    try:
        settings = checked(environ)
    except BadSetting as error:
        raise Wrong(str(error)) from error
    # The server starts elsewhere: what was relative to here must not be.
    folder = settings.models.absolute()
    environ[VARIABLES["models"]] = str(folder)
    if settings.cache is not None:
        environ[VARIABLES["cache"]] = str(settings.cache.absolute())
    tls = _tls(tls_cert, tls_key)
    bundles = _usable(folder, settings)
    address = _free_address(host, port)
    click.echo(f"device: {_device(bundles[0], settings)}")
    for bundle in bundles:
        click.echo(f"model: {_described(bundle)}")
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"url: {'https' if tls else 'http'}://{shown}:{port}")
    if not settings.api_keys and not address.startswith(_LOOPBACK):
        click.echo(f"anybody who reaches {host} may ask: no --api-keys are set", err=True)
    environ[LAUNCHED] = "1"
    _become_server(_bare(address, port, tls) if bare else _bentoml(address, port, tls), environ)


def _tls(cert: Path | None, key: Path | None) -> tuple[str, str] | None:
    """The files as the server finds them.  Not a pair that belongs together: wrong use."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Wrong("--tls-cert and --tls-key go together")
    try:
        # An empty password: a key that wants one must not ask for it at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise Wrong(f"{cert} and {key} are no certificate with its key: {why}") from error
    return str(cert.absolute()), str(key.absolute())


def _usable(folder: Path, settings: Settings) -> list[Bundle]:
    """The bundles that open; the others are named on stderr.  At least one, or it is wrong use."""
    usable, broken = [], []
    try:
        for name, version, path in find_bundles(folder):
            try:
                usable.append(read(path, name=name, version=version))
            except BundleError as error:
                broken.append(str(error))
    except BundleError as error:
        raise Wrong(str(error)) from error
    if not usable:
        why = "; ".join(broken) or "it holds no NAME/VERSION with a manifest.json"
        whence = " (the models that come with biject)" if folder == BUNDLES else ""
        raise Wrong(f"nothing to serve in {folder}{whence}: {why}")
    for reason in broken:
        click.echo(f"left out: {reason}", err=True)
    refs = {f"{b.manifest.name}@{b.manifest.version}" for b in usable}
    names = {ref.partition("@")[0] for ref in refs}
    try:
        further = aliases.read(folder)
    except BundleError as error:
        raise Wrong(str(error)) from error
    default = settings.default if settings.default in names else further.get(settings.default or "")
    if settings.default is not None and (default or settings.default) not in refs | names:
        raise Wrong(
            f"the default model {settings.default!r} is not in {folder}, "
            f"which has {', '.join(sorted(refs))}"
        )
    return usable


def _device(bundle: Bundle, settings: Settings) -> str:
    """What the graphs really run on, found by opening some."""
    try:
        engine = Engine(bundle, device=settings.device, threads=settings.threads)
    except DeviceError as error:
        raise Wrong(str(error)) from error
    except BundleError as error:
        raise click.ClickException(str(error)) from error
    found = engine.device if engine.device == "cuda" else f"cpu, {engine.workers} engine threads"
    engine.close()
    return found


def _described(bundle: Bundle) -> str:
    manifest = bundle.manifest
    sizes = " x ".join(map(str, manifest.item[1]))
    items = sizes if manifest.image is not None else f"vectors of {sizes}"
    return f"{manifest.name}@{manifest.version} ({items}, latents of {manifest.latent.size})"


def _free_address(host: str, port: int) -> str:
    """The host as an IP address that can be listened at.  Not free, or not ours: one sentence."""
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Wrong(f"there is no host {host!r}: {error.strerror or error}") from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere this would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen()  # a port that somebody listens at can be bound, at times
        except OSError as error:
            reason = error.strerror or str(error)
            raise click.ClickException(
                f"cannot listen at {host}, port {port}: {reason.lower()}; try another --port"
            ) from error
    return str(where[0])


def _bare(address: str, port: int, tls: tuple[str, str] | None) -> list[str]:
    files = ("--tls-cert", tls[0], "--tls-key", tls[1]) if tls else ()
    return ["serving.bare", "--host", address, "--port", str(port), *files]


def _bentoml(address: str, port: int, tls: tuple[str, str] | None) -> list[str]:
    files = ("--ssl-certfile", tls[0], "--ssl-keyfile", tls[1]) if tls else ()
    return [
        *("bentoml", "serve", "serving.service:Biject", "--working-dir", str(ROOT)),
        *("--host", address, "--port", str(port)),
        *("--timeout-graceful-shutdown", str(SERVER_GRACE)),
        *files,
    ]


def _become_server(module: list[str], environ: dict[str, str]) -> NoReturn:
    """Replace this process by the module's, with its arguments, so that signals reach it."""
    environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    command = [sys.executable, "-m", *module]
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(ROOT)  # workers import from here
    if os.name == "posix":
        os.execve(command[0], command, environ)
    sys.exit(subprocess.call(command, env=environ))  # Windows' exec gives the terminal back
