"""The files of a rule set, kept under its version, so that its decisions can be made again."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from cds.advice import load_rules
from cds.rules.ruleset import RuleSet

_FILES = msgspec.msgpack.Decoder(dict[str, bytes])


class ArchiveUnusable(RuntimeError):
    """The kept files of a rule set do not make the rule set that they should."""


def pack(contents: Mapping[str, bytes]) -> bytes:
    """The files of a rule set (``RuleSet.contents``) as one compressed block."""
    return zlib.compress(msgspec.msgpack.encode(contents))


def rebuild(version: str, packed: bytes) -> RuleSet:
    """Make a rule set anew from its kept files.

    Raises ``ArchiveUnusable`` where they are not those of the version, and ``FilesInvalid`` where
    this version of the software cannot read them any more.
    """
    try:
        contents = _FILES.decode(zlib.decompress(packed))
    except (zlib.error, msgspec.DecodeError):
        raise ArchiveUnusable(f"the kept files of rule set {version} are damaged") from None
    with tempfile.TemporaryDirectory(prefix="myositis-cds-rules-") as folder:
        for name, content in contents.items():
            if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                raise ArchiveUnusable(f"the kept files of rule set {version} lie outside a folder")
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        site = Path(folder, "site")
        ruleset = load_rules(Path(folder, "rules"), site if site.is_dir() else None)
    if ruleset.version != version:
        ruleset.close()
        raise ArchiveUnusable(
            f"the kept files are not those of rule set {version}, but of {ruleset.version}"
        )
    return ruleset
