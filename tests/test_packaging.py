"""What is handed out works by itself, and is installed the same way everywhere."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!]+)")


def build(project: Path, target: str, into: Path) -> Path:
    """Build ``wheel`` or ``sdist`` of a project with the installed hatchling, and return it."""
    answer = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    (built,) = into.iterdir()
    return built


def files_of(folder: Path) -> set[str]:
    """Return the paths of the files in a folder, relative to it, as they are to be packed."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    return build(CHECKOUT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel, as an installation does, away from the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the unpacked ``cds`` from a folder, with no settings and no view of the checkout."""
    # PYTHONPATH goes before an editable installation; before it goes only the current folder.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "CDS_"}
    return subprocess.run(
        [sys.executable, "-m", "cds", *arguments],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("folder", ["rules", "fhir_examples"])
def test_the_wheel_carries_rules_and_examples(installed: Path, folder: str) -> None:
    """Every rule file and every example of the checkout lies in the package's data folder."""
    shipped = files_of(CHECKOUT / folder)
    assert shipped
    assert files_of(installed / "cds" / "data" / folder) == shipped


def test_the_wheel_holds_the_package_alone(installed: Path) -> None:
    """Nothing but the package and its metadata is installed: no tests, no top-level rules."""
    top = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert top == {"cds"}


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """A wheel built from the source distribution has the contents of one from the checkout."""
    sources = build(CHECKOUT, "sdist", tmp_path / "sdist")
    # Python 3.11.2 of Debian 12 has no extraction filters, and 3.12 warns where none is given.
    subprocess.run(
        [sys.executable, "-m", "tarfile", "-e", str(sources), str(tmp_path / "unpacked")],
        check=True,
        capture_output=True,
    )
    (project,) = (tmp_path / "unpacked").iterdir()
    rebuilt = build(project, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(rebuilt) as theirs:
        assert {entry.filename: entry.CRC for entry in theirs.infolist()} == {
            entry.filename: entry.CRC for entry in ours.infolist()
        }


def test_the_wheel_says_its_version_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """``cds --version`` gives the version that the wheel was built with."""
    (metadata,) = installed.glob("*.dist-info")
    version = metadata.name.removesuffix(".dist-info").rpartition("-")[2]
    answer = run_installed(installed, tmp_path, "--version")
    assert version in answer.stdout, answer.stderr


def test_the_wheel_advises_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """The rules inside the wheel give a critical card for a shipped example that needs one."""
    example = installed / "cds" / "data" / "fhir_examples" / "rp-ild-mda5.bundle.json"
    answer = run_installed(
        installed, tmp_path, "evaluate", str(example), "--json", "--as-of", "2026-11-16"
    )
    assert answer.returncode == 0, answer.stderr
    (line,) = answer.stdout.splitlines()
    assert "critical" in {card["indicator"] for card in json.loads(line)["cards"]}


def constraints() -> dict[str, str]:
    """Return the version that constraints.txt gives for each name."""
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [PINNED.fullmatch(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin["name"]): pin["version"] for pin in pinned if pin}


def own_requirements() -> list[Requirement]:
    """Return what pyproject.toml requires to build, to run and to develop."""
    pyproject = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    return [
        Requirement(line)
        for line in (
            *pyproject["build-system"]["requires"],
            *project["dependencies"],
            *chain.from_iterable(project["optional-dependencies"].values()),
        )
        if not line.startswith(project["name"])  # one of its extras, listed here by itself
    ]


def test_the_constraints_are_names_and_versions_only() -> None:
    """Every line is a comment or ``name==version``, sorted, and no name comes twice."""
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert [line for line in pinned if not PINNED.fullmatch(line)] == []
    names = [line.partition("==")[0].lower() for line in pinned]
    assert names == sorted(names)
    assert len(constraints()) == len(pinned)


def test_the_constraints_satisfy_what_the_project_requires() -> None:
    """Each requirement in pyproject.toml is pinned to a version that it admits."""
    pinned = constraints()
    for requirement in own_requirements():
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_the_constraints_hold_what_the_requirements_require_in_turn() -> None:
    """No package is installed in a version that constraints.txt leaves open."""
    pinned = constraints()
    unpinned = set()
    seen = set()
    waiting = own_requirements()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        if key[0] not in pinned:
            unpinned.add(key[0])
        for line in requires(requirement.name) or ():
            further = Requirement(line)
            extras = requirement.extras or {""}
            if further.marker is None or any(
                further.marker.evaluate({"extra": extra}) for extra in extras
            ):
                waiting.append(further)
    assert unpinned == set()
