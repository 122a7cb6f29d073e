"""A federation of neighbouring versions: sites of the previous one with this coordinator, and the reverse.

It builds the previous version of the commit that `releases.toml` names, and lets each side do the rounds of a
job with the other. Both run in the project's environment, as they have the same requirements.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace

PROJECT = Path(__file__).resolve().parents[1]
SITES = ("north", "south")
ROUNDS = 2


def main() -> None:
    """Try both; exit with 1 where one does not do its rounds."""
    if "--center" in sys.argv:
        run_federation(Path(sys.argv[-2]), Path(sys.argv[-1]))
        return
    release = tomllib.loads((PROJECT / "releases.toml").read_text(encoding="utf-8"))["previous"]
    known = ["git", "cat-file", "-e", f"{release['commit']}^{{commit}}"]
    if subprocess.run(known, cwd=PROJECT, capture_output=True, check=False).returncode:
        print(f"left out: this clone has no commit {release['commit']}, which is {release['version']}")
        return
    with tempfile.TemporaryDirectory(prefix="neighbours-") as scratch:
        folder = Path(scratch)
        old, new = (
            unpacked(folder / name, commit) for name, commit in (("old", release["commit"]), ("new", "HEAD"))
        )
        failed = [
            f"{title} ({release['version']})"
            for title, center, sites in (
                ("old sites, new coordinator", new, old),
                ("new sites, old coordinator", old, new),
            )
            if not did_rounds(title, center, sites)
        ]
    sys.exit("\n".join(["did not do their rounds:", *failed]) if failed else 0)


def unpacked(folder: Path, commit: str) -> Path:
    """Build the wheel of a commit, and return the folder of what is in it."""
    source, built = folder / "source", folder / "built"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=PROJECT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", folder, source], check=True)
    [wheel] = folder.glob("*.whl")
    shutil.unpack_archive(wheel, built, "zip")
    return built


def did_rounds(title: str, center: Path, sites: Path) -> bool:
    """Let a coordinator of one version run a job on sites of another; say how it went."""
    print(f"== {title}", flush=True)
    with tempfile.TemporaryDirectory(prefix="neighbours-") as work:
        asked = [sys.executable, __file__, "--center", sites, work]
        ended = subprocess.run(asked, env=environment(center), cwd=work, check=False)
    return ended.returncode == 0


def environment(version: Path) -> dict[str, str]:
    """Return the environment in which a version is found before any other."""
    return {**os.environ, "PYTHONPATH": str(version), "OMP_NUM_THREADS": "1"}


POLICY = (
    "from json import dumps; from simulate.session.setup import OPEN_POLICY as policy; "
    "print(dumps(policy.model_dump(exclude_defaults=True)))"
)


def open_policy(version: Path) -> SimpleNamespace:
    """Return the open policy of a version, whose sites take no key of a later one."""
    asked = [sys.executable, "-c", POLICY]
    told = subprocess.run(asked, env=environment(version), cwd=version, capture_output=True, check=True)
    keys = json.loads(told.stdout.splitlines()[-1])
    return SimpleNamespace(model_dump=lambda **_: keys)


def run_federation(sites: Path, work: Path) -> None:
    """Run a job: the coordinator is of the version that this process finds, the sites of another."""
    import shared  # noqa: PLC0415  (of whichever version this process has)
    from shared.job.schema import load_job  # noqa: PLC0415
    from simulate.data.phantom import make_phantom  # noqa: PLC0415
    from simulate.federation import processes  # noqa: PLC0415
    from simulate.federation.processes import LocalFederation  # noqa: PLC0415

    class Neighbours(LocalFederation):
        """Its sites are of another version."""

        def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
            version = Path(shared.__file__).parents[1] if name == "coordinator" else sites
            with (self.folder / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=environment(version),
                )
            self.processes[name] = process
            return process

    processes.OPEN_POLICY = open_policy(sites)  # type: ignore[attr-defined]
    job = load_job(
        PROJECT / "configs" / "jobs" / "quickstart.toml", {"job.rounds": ROUNDS, "strategy.min_sites": 2}
    )
    manifest = make_phantom(job.job.dataset, work / "images", job.job.seed)
    with Neighbours(work) as federation:
        for site in SITES:
            federation.enrol(site, {job.job.dataset: manifest})
            federation.start(site)
        federation.await_sites()
        runs = federation.runs()
        name = runs.submit(job)
        events = [event.kind for event in runs.follow(name)]
        row = runs.look(name).row
        took_part = [site for site in SITES if f"round {ROUNDS}" in federation.log(site)]
        print(
            f"{row.status}: round {row.round} of {row.rounds}; {events.count('round_finished')} were finished"
        )
        if row.status != "finished" or row.round != ROUNDS:
            for side in ("coordinator", *SITES):
                print(f"-- {side}\n{federation.log(side)[-3000:]}")
            sys.exit(f"{row.reason}")
        print(f"took part to the end: {', '.join(took_part)}")


if __name__ == "__main__":
    main()
