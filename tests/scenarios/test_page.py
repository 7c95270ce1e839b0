"""The examples of `docs/scenarios.md` are scenarios, and do what the page says."""

import re
from pathlib import Path

import pytest

from configs.document import mapping
from configs.loading import build
from scenarios.outcome import END, run
from scenarios.schema import Scenario

PAGE = Path(__file__).parents[2] / "docs" / "scenarios.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
EXAMPLES = {str(data["name"]): data for data in (mapping(block.encode()) for block in BLOCKS)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_comes_to_its_end(name: str) -> None:
    scenario = build(Scenario, EXAMPLES[name], name)
    found = run(scenario)
    names = [mark for mark, _ in found.marks]
    wanted = [entry.name for entry in scenario.timeline if entry.do == "mark"]
    assert names[1:-1] == wanted
    finished = found.at(END).task["finished_s"]
    assert (finished[:, 0] > 0).all()
