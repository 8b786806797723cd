"""The notebooks are copied where they are needed, and nobody's work is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import ConfigError
from workbench.lab_folder import working_folder


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    for name in ("01_first", "02_second"):
        (folder / f"{name}.ipynb").write_text(name)
    return folder


def test_a_checkout_is_worked_in_itself(notebooks: Path):
    assert working_folder(None, notebooks, packed=False) == (notebooks, (), ())
    assert working_folder(notebooks, notebooks, packed=False).copied == ()


def test_an_installed_package_is_copied_into_the_current_folder(
    notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    found = working_folder(None, notebooks, packed=True)
    assert found == (tmp_path / "notebooks", ("01_first.ipynb", "02_second.ipynb"), ())
    assert (found.folder / "02_second.ipynb").read_text() == "02_second"
    assert working_folder(None, notebooks, packed=True).copied == ()  # they are there


def test_a_file_that_the_user_changed_is_left_alone(notebooks: Path, tmp_path: Path):
    work = tmp_path / "work"
    working_folder(work, notebooks, packed=True)
    (work / "01_first.ipynb").write_text("mine")
    for name in ("01_first", "02_second"):
        (notebooks / f"{name}.ipynb").write_text(f"{name} of a newer version")
    found = working_folder(work, notebooks, packed=True)
    assert found.copied == ("02_second.ipynb",)  # nobody had touched that one
    assert found.kept == ("01_first.ipynb",)
    assert (work / "01_first.ipynb").read_text() == "mine"


def test_a_file_that_was_there_before_is_the_users(notebooks: Path, tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "01_first.ipynb").write_text("mine")
    assert working_folder(work, notebooks, packed=True) == (work, ("02_second.ipynb",), ("01_first.ipynb",))
    assert working_folder(work, notebooks, packed=True).kept == ("01_first.ipynb",)
    assert (work / "01_first.ipynb").read_text() == "mine"


def test_a_folder_must_be_one(notebooks: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="FOLDER must be a folder, got the file"):
        working_folder(notebooks / "01_first.ipynb", notebooks, packed=True)
