"""The notebooks run from top to bottom in an empty folder, and are kept without what they print."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the packages of 'dev'")
nbclient = pytest.importorskip("nbclient", reason="needs the packages of 'dev'")
pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")
pytest.importorskip("pandas", reason="needs the extra 'notebooks'")

PROJECT = Path(__file__).parents[1]
NOTEBOOKS = sorted((PROJECT / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    last = notebook.cells[-2 if notebook.cells[-1].cell_type == "markdown" else -1]
    assert last.outputs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_prints_is_not_kept(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert not {"shared", "client", "server", "simulate"} & {
                line.split()[1].partition(".")[0]
                for line in cell.source.splitlines()
                if line.strip().startswith(("import ", "from "))
            }
