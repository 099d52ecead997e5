"""Pseudonyms of patients: keyed hashes, which nobody without the key can tell or try out."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import structlog

from cds.store.database import DatabaseUnusable

_log = structlog.get_logger()

KEY_BYTES = 32
LENGTH = 32
"""Hexadecimal digits of a pseudonym: 128 bits, so that two patients never share one."""


def read_key(file: Path) -> bytes:
    """Read the key.

    Whoever loses it can tell of no kept decision which patient it was about, and lasting overrides
    end. Raises ``DatabaseUnusable`` for a file that is not there or cannot be read, is open to
    others, or holds something else than ``KEY_BYTES`` as hexadecimal digits.
    """
    try:
        if _is_open_to_others(file.stat()):
            raise DatabaseUnusable(
                f"{file} holds the key of the pseudonyms, and others may read or change it: "
                f"chmod 600 {file}"
            )
        key = bytes.fromhex(file.read_text("ascii"))
    except FileNotFoundError:
        raise DatabaseUnusable(
            f"{file} should hold the key of the pseudonyms, and is not there: bring the file back "
            "from a backup. Only where no decisions were kept yet, make one: "
            f"(umask 077; openssl rand -hex {KEY_BYTES} > {file}). A new key makes every patient a "
            "new one."
        ) from None
    except OSError as fault:
        raise DatabaseUnusable(
            f"{file}, which holds the key of the pseudonyms, cannot be read: {fault.strerror}"
        ) from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DatabaseUnusable(
            f"{file} should hold the key of the pseudonyms, {2 * KEY_BYTES} hexadecimal digits: "
            "bring the file back from a backup. A new key (openssl rand -hex 32) would make every "
            "patient a new one."
        )
    return key


def _is_open_to_others(status: os.stat_result) -> bool:
    """Whether others than the owner may read or change a file.

    A credential of systemd's belongs to root, who lets one user read it; what its mode then says of
    the group, it says of that user.
    """
    if status.st_uid == status.st_gid == 0 and status.st_mode & 0o777 == 0o440:
        return False
    return bool(status.st_mode & 0o077)


def make_key(file: Path) -> None:
    """Make a key, complete at once and readable by nobody else, where there is none.

    Of processes that start together, one does it. Raises ``DatabaseUnusable`` where it cannot be
    made.
    """
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, f"{secrets.token_hex(KEY_BYTES)}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(draft, file)
        except FileExistsError:
            return
        finally:
            draft.unlink()
    except OSError as fault:
        raise DatabaseUnusable(
            f"{file}, which is to hold the key of the pseudonyms, cannot be made: {fault.strerror}"
        ) from None
    _log.warning("pseudonym_key_made", file=str(file))


def pseudonym(key: bytes, client: str, server: str, patient: str) -> str:
    """The pseudonym of a patient: HMAC-SHA256 over who called, the FHIR server, and the id.

    The same id at another hospital is another patient, and so has another pseudonym.
    """
    told = "\0".join((client, server.rstrip("/"), patient))
    return hmac.new(key, told.encode(), hashlib.sha256).hexdigest()[:LENGTH]
