"""Encrypted, in both modes; and what is no certificate is refused before anything starts."""

import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from click.testing import CliRunner

from server_process import MODES, Mode, running
from serving.cli import serve


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("mode", MODES)
def test_it_speaks_tls(
    mode: Mode, authority: trustme.CA, files: tuple[Path, Path], models: Path, tmp_path: Path
) -> None:
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    tls = ("--tls-cert", str(files[0]), "--tls-key", str(files[1]))
    with running(mode, models, tmp_path / "log", *tls, verify=trusted) as server:
        assert server.url.startswith("https://")
        with httpx.Client(base_url=server.url, verify=trusted) as client:
            assert client.post("/v1/models/oracle/sample").status_code == 200
            assert f"url: {server.url}" in server.log.read_text()
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(server.url + "/livez")
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):  # as the reset is seen
            httpx.get(server.url.replace("https", "http") + "/livez")


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert.pem", None, "--tls-cert and --tls-key go together"),
        (None, "key.pem", "--tls-cert and --tls-key go together"),
        ("key.pem", "cert.pem", "are no certificate with its key"),
        ("cert.pem", "cert.pem", "are no certificate with its key"),
        ("cert.pem", "other.pem", "are no certificate with its key"),
        ("nothing.pem", "key.pem", "does not exist"),
    ],
)
def test_what_is_no_pair_is_wrong_use(
    cert: str | None,
    key: str | None,
    words: str,
    authority: trustme.CA,
    files: tuple[Path, Path],
    models: Path,
) -> None:
    folder = files[0].parent
    authority.issue_cert("127.0.0.2").private_key_pem.write_to_path(folder / "other.pem")
    given = {"--tls-cert": cert, "--tls-key": key}
    flags = [x for flag, name in given.items() if name for x in (flag, str(folder / name))]
    result = CliRunner().invoke(serve, [str(models), *flags])
    assert result.exit_code == 2
    assert words in result.stderr
    assert "PRIVATE KEY" not in result.stderr
