"""Whether `client`, `server`, `shared` and `simulate` are ours: such names are common, the first one wins."""

import sys
from importlib.util import find_spec
from pathlib import Path

OURS = ("shared", "client", "server", "simulate")
_HOME = Path(__file__).resolve().parents[1]
_MARK = '"""Wardround: '  # begins each of the packages


def require_ours() -> None:
    """Make sure that each of our packages is the one that would be imported.

    Raises:
        ImportError: Another file or package has the name of one; says where it lies and what to do about it.
            The command prints that as one error and ends with 2.
    """
    problem = next(filter(None, map(_problem, OURS)), None)
    if problem is None:
        return
    if Path(sys.argv[0]).name in {"wardround", "-m"}:  # `-m`: Python still looks for what it is to run
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    raise ImportError(problem)


def _problem(name: str) -> str | None:
    """Return why a name is not that of our package, None where it is."""
    ours, found = _HOME / name, _found(name)
    if found is not None and found.resolve() not in {ours, ours / "__init__.py"}:
        return (
            f"'{name}' is {found}, where Wardround needs its own package {ours}.\n"
            "Rename that file or folder, or start Python in another one. If it belongs to a package, "
            "install Wardround into an environment of its own."
        )
    if found is None or not _begins_as_ours(ours / "__init__.py"):
        return (
            f"{ours} is not whole: another package called '{name}' was installed over it, or removed.\n"
            f"Uninstall that one (pip uninstall {name}), then install Wardround again (pip install "
            "--force-reinstall --no-deps wardround), best into an environment of its own."
        )
    return None


def _found(name: str) -> Path | None:
    """Return the file, or the folder without `__init__.py`, that an import of a name finds."""
    spec = find_spec(name)
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]
    return next((Path(place) for place in places if place), None)


def _begins_as_ours(file: Path) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
