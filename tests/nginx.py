"""Starts nginx with the configuration of ``deploy/``, as an operator would, before a service."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from msgspec import Struct

from tests.programs import find_program

CONFIGURATION = Path(__file__).resolve().parents[1] / "deploy/nginx.conf"

_AROUND = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/default.conf;
}}
"""


class Proxy(Struct, frozen=True):
    """A running nginx: where it listens, and what trusts its certificate."""

    port: int
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        """Where clients call it."""
        return f"https://localhost:{self.port}"


@contextlib.contextmanager
def proxy_before(port: int, folder: Path, **changed: str) -> Iterator[Proxy]:
    """Run nginx before a service on this port of the loopback interface.

    Of its directives those that are named have other values, for tests that would else take long:
    ``proxy_read_timeout="1s"``.
    """
    nginx = find_program(
        "nginx",
        title="nginx",
        package="nginx-light",
        required_by="CDS_TEST_NGINX",
        path="/usr/sbin",
    )
    listening = free_port()
    text = CONFIGURATION.read_text(encoding="utf-8")
    for old, new in (
        ("server cds:8000;", f"server 127.0.0.1:{port};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{listening} ssl;"),
        ("/etc/nginx/tls/", f"{folder}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    for name, value in changed.items():
        text, count = re.subn(rf"\b{name} [^;]+;", f"{name} {value};", text)
        assert count, name
    (folder / "default.conf").write_text(text)
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user))
    _make_certificate(folder)
    process = subprocess.Popen(
        [nginx, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _await(listening, process)
        yield Proxy(listening, ssl.create_default_context(cafile=str(folder / "certificate.pem")))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def free_port() -> int:
    """Return a port that nobody listens at just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def _await(port: int, process: subprocess.Popen[str]) -> None:
    while True:  # bounded by the time of the whole test run
        if process.poll() is not None:
            pytest.fail(f"nginx did not start: {process.communicate()[1]}")
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)
