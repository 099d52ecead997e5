import os
from pathlib import Path

import pytest

from cds.store.database import DatabaseUnusable
from cds.store.pseudonyms import make_key, pseudonym, read_key

KEY = bytes(range(32))


def test_a_pseudonym_is_the_same_for_the_same_patient_only() -> None:
    """Client, FHIR server and id each make another patient; a slash at the end does not."""
    ours = pseudonym(KEY, "ehr", "https://ehr.example/fhir", "1")

    assert ours == pseudonym(KEY, "ehr", "https://ehr.example/fhir/", "1")
    others = {
        pseudonym(KEY, "ehr", "https://ehr.example/fhir", "2"),
        pseudonym(KEY, "ehr", "https://other.example/fhir", "1"),
        pseudonym(KEY, "other", "https://ehr.example/fhir", "1"),
        pseudonym(bytes(32), "ehr", "https://ehr.example/fhir", "1"),
    }
    assert len(others | {ours}) == 5


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """Made again it is the same, and nobody else may read it."""
    file = tmp_path / "pseudonym.key"

    make_key(file)
    key = read_key(file)
    make_key(file)

    assert read_key(file) == key
    assert len(key) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    """The reader learns that it belongs back from a backup, and how one is made at first."""
    file = tmp_path / "pseudonym.key"

    with pytest.raises(DatabaseUnusable, match=r"backup.*openssl rand -hex 32"):
        read_key(file)

    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The reader is told the command that mends it."""
    file = tmp_path / "pseudonym.key"
    make_key(file)
    file.chmod(0o640)

    with pytest.raises(DatabaseUnusable, match=f"chmod 600 {file}"):
        read_key(file)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of root's")
def test_a_credential_of_systemd_is_accepted(tmp_path: Path) -> None:
    """It is root's, and its mode seems to let a group read it; nobody may read more than that."""
    file = tmp_path / "pseudonym.key"
    make_key(file)
    key = read_key(file)
    file.chmod(0o440)
    assert read_key(file) == key

    for mode, group in ((0o444, 0), (0o460, 0), (0o440, 1)):
        file.chmod(mode)
        os.chown(file, 0, group)
        with pytest.raises(DatabaseUnusable, match="others may read"):
            read_key(file)


@pytest.mark.parametrize("content", ["", "abcd", "no key", "é"])
def test_a_key_that_is_none_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    """A new key would make every patient a new one, so none is made in its place."""
    file = tmp_path / "pseudonym.key"
    file.touch(0o600)
    file.write_text(content)

    with pytest.raises(DatabaseUnusable, match="64 hexadecimal digits"):
        read_key(file)

    assert file.read_text() == content
