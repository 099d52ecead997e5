"""The files that a rule set is read from, and the version that is a hash of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path


def content_version(folder: Path, site: Path | None) -> str:
    """A hash of every file of the folder, and of a site's: the same content, the same version.

    Raises OSError where a file cannot be read, or has just gone.
    """
    return version_of(read_contents(folder, site))


def read_contents(folder: Path, site: Path | None) -> dict[str, bytes]:
    """Every file of the folder as ``rules/<path>``, and of a site's as ``site/<path>``.

    Raises OSError where a file cannot be read, or has just gone.
    """
    return {name: Path(path).read_bytes() for name, path in _files(folder, site)}


def _files(folder: Path, site: Path | None) -> list[tuple[str, str]]:
    """Every file by what ``read_contents`` calls it, with its path, in one order everywhere."""
    found: list[tuple[tuple[str, ...], str]] = []
    for root, name in ((folder, "rules"), *([(site, "site")] if site else ())):
        for at, folders, files in os.walk(root, onerror=_unless_gone):
            inner = (name, *Path(at).relative_to(root).parts)
            folders[:] = [each for each in folders if not each.startswith(".")]
            found += [
                ((*inner, file), os.path.join(at, file))
                for file in files
                if file.endswith(".yaml") and not file.startswith(".")  # of the tools that keep it
            ]
    return [("/".join(parts), path) for parts, path in sorted(found)]


def _unless_gone(fault: OSError) -> None:
    # A folder that is not there holds no files, which is told as what then is missing.
    if not isinstance(fault, FileNotFoundError):
        raise fault


Stamps = tuple[tuple[str, int, int, int, int], ...]
"""For each file its name, its place on the disk, its size and when it was last changed, in ns."""


def read_stamps(folder: Path, site: Path | None) -> Stamps:
    """What tells that no file of the folders was changed, without reading them; raises OSError.

    The system itself notes when a file was changed, and nobody can set that.
    """
    stamps = []
    for name, path in _files(folder, site):
        found = os.stat(path)
        stamps.append((name, found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns))
    return tuple(stamps)


def version_of(contents: Mapping[str, bytes]) -> str:
    """The version of a rule set that consists of these files, in their order."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
