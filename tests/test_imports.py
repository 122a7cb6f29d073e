"""Who may import whom, and what no module may do, read from the source."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
ALLOWED = {
    "shared": {"shared"},
    "client": {"client", "shared"},
    "server": {"server", "shared"},
    "simulate": {"simulate", "client", "server", "shared"},
    "wardround": {"wardround", "simulate", "client", "server", "shared"},
}
MOST_LINES = 400
"""Of a file: who reads one has all of it in mind."""
PUBLIC_FLOWER = ("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy")
FLOWER_DOOR = Path("shared/flower")
PRIVATE_NAMES = 55
"""Names that are Flower's own affair and that we use all the same (docs/flower.md); the number only falls."""
FLOWER_VIEWS = {"array_records", "config_records", "metric_records"}
"""Of a content of Flower's: each refers to itself, so a model that was asked for one stays in memory until
Python looks for such circles. `shared.wire.flat_array.array_records` and `content[key]` keep nothing."""
TORCH_FILES = Path("shared/networks/torch_files.py")
"""Reads PyTorch's own format, as nothing but tensors: `torch.load(..., weights_only=True)`."""
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_ATTRIBUTES = {
    "yaml.load",
    "yaml.unsafe_load",
    "torch.load",
    "importlib.import_module",
    "os.system",
    "os.popen",
}
# Processes of one user on one machine, and what multiprocessing needs for them.
WORKERS = {Path("client/workers"), Path("simulate/workers")}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "monai.bundle"}
MODULES = sorted(
    path.relative_to(PROJECT) for package in ALLOWED for path in (PROJECT / package).rglob("*.py")
)


def imports(tree: ast.AST) -> Iterator[str]:
    """Give every imported module, and for `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the package's name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, modules: set[str] | tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def is_command_line(name: str) -> bool:
    """Say whether a module is one of the command line, whose commands only other such modules mount."""
    side, _, rest = name.partition(".")
    return side in ALLOWED and rest.partition(".")[0] in ("cli", "__main__")


def calls(tree: ast.AST) -> Iterator[str]:
    """Give what is called or looked up, as far as its name tells."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield node.func.id
        if isinstance(node, ast.Attribute) and ast.unparse(node) in UNSAFE_ATTRIBUTES:
            yield ast.unparse(node)
        if isinstance(node, ast.Attribute) and node.attr in FLOWER_VIEWS:
            yield f".{node.attr}"
        if "ConfigParser" in (getattr(node, "id", ""), getattr(node, "attr", "")):
            yield "ConfigParser"


def faults(path: Path, source: str) -> list[str]:
    """Return what a module does that it may not."""
    tree = ast.parse(source)
    if relative := [
        node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level
    ]:
        return [f"line {line}: relative import; write the package's name" for line in relative]
    found = []
    for name in imports(tree):
        if within(name, tuple(ALLOWED)) and name.partition(".")[0] not in ALLOWED[path.parts[0]]:
            found.append(f"imports {name}")
        private = within(name, ("flwr",)) and not within(name, PUBLIC_FLOWER) and name != "flwr"
        if private and FLOWER_DOOR not in path.parents:
            found.append(f"imports {name}, which is private to Flower")
        if is_command_line(name) and not is_command_line(".".join(path.parts)):
            found.append(f"imports {name}, which is for the command line")
        local = name == "pickle" and bool(WORKERS & set(path.parents))
        if within(name, UNSAFE_MODULES) and not local:
            found.append(f"imports {name}")
    used = [f"uses {name}" for name in calls(tree)]
    if path == TORCH_FILES and reads_tensors_alone(tree):
        used.remove("uses torch.load")
    return found + used


def reads_tensors_alone(tree: ast.AST) -> bool:
    """Say whether `torch.load` is called once, with `weights_only=True`."""
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    return len(loads) == 1 and "weights_only=True" in map(ast.unparse, loads[0].keywords)


def test_modules_keep_the_rules() -> None:
    found = {str(path): faults(path, (PROJECT / path).read_text(encoding="utf-8")) for path in MODULES}
    assert len(found) > 500
    assert {path: broken for path, broken in found.items() if broken} == {}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shared/a.py", "import client.data"),
        ("shared/a.py", "from server.rounds import loop"),
        ("client/a.py", "from server.rounds.loop import run"),
        ("server/a.py", "def f():\n    from client.work import client_app"),
        ("client/a.py", "from simulate.session.grid import LocalGrid"),
        ("server/a.py", "from flwr.supercore.task_identity import TaskIdentity"),
        ("server/a.py", "from flwr.common import logger"),
        ("server/a.py", "from server.cli.runs import watch"),
        ("shared/a.py", "import pickle"),
        ("simulate/session/grid.py", "import pickle"),
        ("simulate/workers/a.py", "from cloudpickle import loads"),
        ("shared/a.py", "eval('1')"),
        ("client/a.py", "from . import b"),
        ("client/a.py", "import torch\ntorch.load('x')"),
        ("client/a.py", "import torch\ntorch.load('x', weights_only=True)"),
        ("shared/networks/torch_files.py", "import torch\ntorch.load('x')"),
        ("client/a.py", "import monai\nmonai.bundle.ConfigParser()"),
        ("server/a.py", "def f(content):\n    return content.array_records['model']"),
    ],
)
def test_a_broken_rule_is_found(path: str, source: str) -> None:
    assert faults(Path(path), source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("simulate/a.py", "from client.work.client_app import app\nfrom server.rounds.loop import run"),
        ("shared/flower/fleet.py", "from flwr.supercore.task_identity import TaskIdentity"),
        ("server/a.py", "from flwr.serverapp.strategy import FedAvg\nfrom flwr.app import Message"),
        ("client/workers/pool.py", "import pickle"),
        ("shared/networks/torch_files.py", "import torch\ntorch.load('x', weights_only=True)"),
        ("client/cli/client.py", "from client.cli.folder import HERE"),
        ("client/a.py", "model.eval()"),
        ("server/a.py", "from shared.wire.flat_array import array_records\narray_records(content)"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert faults(Path(path), source) == []


def test_flowers_private_names_are_counted_and_each_is_explained() -> None:
    found = set()
    for path in (PROJECT / FLOWER_DOOR).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and within(node.module or "", ("flwr",)):
                if not within(node.module or "", PUBLIC_FLOWER):
                    found |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if within(alias.name, ("flwr",))}
    page = (PROJECT / "docs" / "flower.md").read_text(encoding="utf-8")
    assert [name for name in sorted(found) if f"`{name.rpartition('.')[2]}`" not in page] == []
    assert len(found) == PRIVATE_NAMES, "fewer: lower the number; more: do without"
    assert f"{PRIVATE_NAMES} names" in page


def run_time_imports(tree: ast.Module) -> Iterator[str]:
    """Give what a module imports when it runs, in its functions too, and not under `TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def folders(whole: str, sources: dict[str, str]) -> dict[str, set[str]]:
    """Return which others each folder of a package needs; a file that lies beside the folders counts as one.

    Args:
        whole: Name of the package.
        sources: Text of each module, by its name.
    """
    depth = whole.count(".") + 2
    needs: dict[str, set[str]] = {}
    for name, source in sources.items():
        if within(name, (whole,)):
            here = ".".join(name.split(".")[:depth])
            modules = {found for found in run_time_imports(ast.parse(source)) if found in sources}
            there = {".".join(found.split(".")[:depth]) for found in modules if within(found, (whole,))}
            needs.setdefault(here, set()).update(there - {here, whole})
    return needs


def cycle(whole: str, sources: dict[str, str]) -> list[str]:
    """Return folders of a package that need each other in a circle, or none."""
    try:
        graphlib.TopologicalSorter(folders(whole, sources)).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("whole", [*ALLOWED, "client.data"])
def test_folders_form_no_cycle(whole: str) -> None:
    sources = {module_name(path): (PROJECT / path).read_text(encoding="utf-8") for path in MODULES}
    assert cycle(whole, sources) == []


@pytest.mark.parametrize(
    ("first", "second", "is_cycle"),
    [
        ("import a.y.v", "from a.x import u", True),
        ("import a.y.v", "def f():\n    from a.x.u import g", True),
        ("import a.y.v", "from a import x", True),
        ("import a.y.v", "if TYPE_CHECKING:\n    from a.x import u", False),
        ("import a.y.v", "from a.y import w", False),
        ("from a.z import t", "from a import z", False),
    ],
)
def test_a_cycle_is_found(first: str, second: str, *, is_cycle: bool) -> None:
    sources = {
        "a": "",
        "a.x": "",
        "a.y": "",
        "a.x.u": first,
        "a.y.v": second,
        "a.y.w": "",
        "a.z": "",
        "a.z.t": "",
    }
    assert bool(cycle("a", sources)) == is_cycle


def test_no_file_is_long() -> None:
    lines = {str(path): len((PROJECT / path).read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
