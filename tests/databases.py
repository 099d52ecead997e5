"""A real PostgreSQL for the tests, which they start themselves."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psycopg


def _program(name: str) -> str:
    """Find a program of PostgreSQL; Debian keeps those of the server off the path."""
    installed = sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))
    found = installed[-1] if installed else shutil.which(name)
    if found is None:
        raise AssertionError(
            "PostgreSQL's server is not installed, which these tests start for themselves. "
            "On Debian and Ubuntu: apt-get install postgresql"
        )
    return found


def _run(folder: Path, program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the server of a folder."""
    # The server refuses to run as root.
    identity = {"user": "nobody", "group": "nogroup", "extra_groups": []} if not os.getuid() else {}
    done = subprocess.run(
        [_program(program), "-D", str(folder / "data"), *arguments],
        cwd=folder,
        check=False,
        stdout=(folder / f"{program}.log").open("wb"),
        stderr=subprocess.STDOUT,
        **identity,  # type: ignore[call-overload]  # names of options, each with its type
    )
    assert done.returncode == 0, (folder / f"{program}.log").read_text()


def _start(folder: Path) -> None:
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200"
    _run(folder, "pg_ctl", "-w", "-o", options, "-l", str(folder / "server.log"), "start")


def _folder_of(url: str) -> Path:
    return Path(url.partition("host=")[2])


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Start a server in a folder of its own, reached by a socket there only; its address."""
    # A socket's path may have 107 characters, which the folders of pytest would use up.
    folder = Path(tempfile.mkdtemp(prefix="cds-pg-", dir="/tmp"))
    if not os.getuid():
        shutil.chown(folder, "nobody", "nogroup")
    try:
        _run(folder, "initdb", "-U", "cds", "-A", "trust", "-E", "UTF8", "--no-sync")
        _start(folder)
        try:
            yield f"postgresql://cds@/postgres?host={folder}"
        finally:
            _run(folder, "pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def stopped(url: str, mode: Literal["fast", "immediate"] = "fast") -> Iterator[None]:
    """Stop a server, as for an upgrade or (immediate) as if it had crashed, and start it again."""
    _run(_folder_of(url), "pg_ctl", "-w", "-m", mode, "stop")
    try:
        yield
    finally:
        _start(_folder_of(url))


@contextlib.contextmanager
def silent(url: str) -> Iterator[None]:
    """Stop a server so that it takes connections and queries, and answers none."""
    folder = _folder_of(url)
    first = int((folder / "data/postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    processes = [first, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def new_database(server: str) -> str:
    """Make a new database on a server; its address."""
    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.replace("/postgres?", f"/{name}?")
