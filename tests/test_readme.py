"""The README's quick start runs as written."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.filterwarnings("default")
def test_the_quick_start_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)  # from any folder
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # our own text
    reward = names["reward"]
    assert isinstance(reward, float)
    assert names["env"].observation_space.contains(names["observation"])  # type: ignore[attr-defined]


def test_every_file_that_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    rooms = "configs|docs|agents|contract|memsim"
    named = re.findall(rf"(?:{rooms})/[\w/.-]+\.(?:yaml|py|md|png)", text)
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []
