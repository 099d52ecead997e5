"""Programs that some tests need and that a developer's machine may lack."""

import os
import shutil

import pytest


def find_program(*names: str, title: str, package: str, required_by: str, path: str = "") -> str:
    """Return the command of the first of these programs that there is.

    Where there is none the test is left out, or fails where the variable ``required_by`` is set to
    ``required``. ``path`` is looked through after the usual one.
    """
    where = os.pathsep.join(filter(None, (os.environ.get("PATH"), path)))
    for name in names:
        if found := shutil.which(name, path=where):
            return found
    missing = f"{title} is not installed: on Debian and Ubuntu, apt-get install {package}"
    if os.environ.get(required_by) == "required":
        pytest.fail(missing)
    pytest.skip(missing)
