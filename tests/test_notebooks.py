"""The notebooks run from top to bottom in an empty folder, and are kept without what they print."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the packages of 'dev'")
nbclient = pytest.importorskip("nbclient", reason="needs the packages of 'dev'")
pytest.importorskip("ipykernel", reason="needs the extra 'notebooks'")
pytest.importorskip("pandas", reason="needs the extra 'notebooks'")

from jupyter_client import KernelManager  # noqa: E402 (which nbclient brings)

PROJECT = Path(__file__).parents[1]
NOTEBOOKS = sorted((PROJECT / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the notebooks share: synthetic hospitals, which the first that needs them makes."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PROJECT), prepend=os.pathsep)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="module")
def kernel(_environment: None) -> Iterator[KernelManager]:
    """Give a kernel that has loaded PyTorch when the second notebook comes."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, examples: Path, kernel: KernelManager, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(examples)
    notebook = nbformat.read(path, as_version=4)
    last = notebook.cells[-2 if notebook.cells[-1].cell_type == "markdown" else -1]
    options = {"kernel_name": "python3", "resources": {"metadata": {"path": str(tmp_path)}}}
    if path.stem != "new-task":  # which installs what is looked for when Wardround is first imported
        begins = f"%reset -f\nimport os\nos.chdir({str(tmp_path)!r})\ndel os"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(begins))
        options["km"] = kernel
    nbclient.NotebookClient(notebook, timeout=300, **options).execute()
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
