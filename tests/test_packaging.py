"""What is shipped, and what a real host has to load."""

import email.parser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "contract",
    "memsim",
    "agents",
    "scenarios",
    "envs",
    "reports",
    "overcommitd",
    "configs",
}
SCRIPTS = {"train.py", "evaluate.py", "tune.py"}
HEAVY = ("torch", "stable_baselines3", "gymnasium", "numba", "matplotlib")


def python(*arguments: str, cwd: Path) -> str:
    """Run this interpreter without the checkout on its path; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def shipped_files() -> set[str]:
    """Every file of the packages that git knows, or that is not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


def test_the_wheel_holds_the_packages_the_scripts_and_nothing_else(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert tops == PACKAGES | SCRIPTS | {"overcommit-0.1.0.dist-info"}
    assert not [name for name in names if "tests" in name.split("/") or "test_" in name]


def test_the_wheel_holds_every_file_of_the_packages(names: set[str]) -> None:
    assert shipped_files() <= names


@pytest.mark.parametrize(
    "pattern",
    [
        "configs/evaluate/demo.yaml",
        "configs/evaluate/talk.yaml",
        "configs/train/demo.yaml",
        "configs/scenarios/*.yaml",
        "configs/scenarios/profiles/*.yaml",
        "scenarios/**/*.npz",
        *(f"{package}/py.typed" for package in sorted(PACKAGES)),
    ],
)
def test_the_wheel_holds_data(names: set[str], pattern: str) -> None:
    wanted = {file.relative_to(ROOT).as_posix() for file in ROOT.glob(pattern)}
    assert wanted, "nothing in the checkout matches"
    assert wanted <= names


def test_every_constraint_is_exact_and_covers_the_requirements(wheel: Path) -> None:
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, equals, version = line.partition("==")
            assert equals, line
            assert "+" not in version, line
            assert _normal(name) not in pins, line
            pins[_normal(name)] = version
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("overcommit-0.1.0.dist-info/METADATA").decode()
    wanted = email.parser.Parser().parsestr(text).get_all("Requires-Dist", [])
    required = {_normal(entry.replace("[", ">").split(">")[0].split(";")[0]) for entry in wanted}
    assert required - {"overcommit"} <= pins.keys()
    assert pins["torch"] == "2.13.0"


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def loaded_after(statement: str, cwd: Path) -> set[str]:
    """The top-level modules that an interpreter of its own has loaded after a statement."""
    script = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(python("-c", script, cwd=cwd).split())


@pytest.mark.parametrize(
    "statement",
    [
        "import contract.telemetry, contract.loop, contract.guard, contract.decode",
        "import agents.baselines.slides",
        "import agents.onnx_policy",
    ],
)
def test_the_deployed_path_loads_nothing_heavy(statement: str, tmp_path: Path) -> None:
    assert loaded_after(statement, tmp_path).isdisjoint(HEAVY)


def test_the_check_for_heavy_modules_sees_one(tmp_path: Path) -> None:
    assert "gymnasium" in loaded_after("import gymnasium", tmp_path)


@pytest.mark.slow
def test_the_daemons_extra_alone_runs_the_daemon(wheel: Path, tmp_path: Path) -> None:
    """An empty environment, the wheel with [daemon], and a host that nobody runs guests on."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    alone = tmp_path / "venv" / "bin"
    line = [str(alone / "pip"), "install", "-q", "--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run([*line, f"{wheel}[daemon]"], capture_output=True, text=True, timeout=240)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package registry within reach")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [str(alone / "pip"), "list"], capture_output=True, text=True, check=True
    )
    assert not [name for name in HEAVY if name in listed.stdout.replace("-", "_")]
    config = tmp_path / "daemon.yaml"
    config.write_text(
        f"backend: {{kind: qmp, options: {{sockets: {tmp_path}/*.qmp}}}}\n"
        f"state_dir: {tmp_path}\nruntime_dir: {tmp_path}\nmetrics: {{port: 0}}\n"
    )
    with subprocess.Popen(
        [str(alone / "overcommitd"), "--config", str(config)], stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stderr is not None
        assert '"event": "begins"' in daemon.stderr.readline()
        status = subprocess.run(
            [str(alone / "overcommitctl"), "--socket", str(tmp_path / "control.sock"), "status"],
            capture_output=True,
            text=True,
        )
        daemon.terminate()
    assert "mode shadow; policy slides" in status.stdout, status.stderr
