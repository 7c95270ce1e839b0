"""Write the table of physical constants into `docs/model.md`, from `memsim/params.py`.

    python -m tools.parameters

The comment behind a constant is its meaning, range and source; a comment on a line of its own
begins a group; what the source tags mean stands in the module's docstring.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from memsim import params

ROOT = Path(__file__).parents[1]
PARAMS, PAGE = ROOT / "memsim" / "params.py", ROOT / "docs" / "model.md"
BEGIN, END = "<!-- parameters -->", "<!-- /parameters -->"
_CONSTANT = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*) = (?P<value>[^#]+?)(?:  # (?P<comment>.*))?")
_MORE = re.compile(r"\s+# (?P<comment>.*)")


class Parameter(NamedTuple):
    """One constant."""

    name: str
    value: str
    meaning: str


class Group(NamedTuple):
    """Constants under one heading."""

    title: str
    parameters: list[Parameter]


def _value(name: str) -> str:
    value = getattr(params, name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def groups(source: str) -> Iterator[Group]:
    """Read the constants of a module, in the order of their lines."""
    group = Group("", [])
    for line in source.splitlines():
        if line.startswith("# "):
            if group.parameters:
                yield group
            group = Group(line[2:], [])
        elif found := _CONSTANT.fullmatch(line):
            meaning = found["comment"] or ""
            group.parameters.append(Parameter(found["name"], _value(found["name"]), meaning))
        elif group.parameters and (found := _MORE.fullmatch(line)):
            last = group.parameters[-1]
            group.parameters[-1] = last._replace(meaning=f"{last.meaning} {found['comment']}")
    yield group


def _assumed(source: str) -> str:
    everything = [one for group in groups(source) for one in group.parameters]
    names = [f"`{one.name}`" for one in everything if re.search("assumed|recalled", one.meaning)]
    return (
        f"{len(names)} of {len(everything)} are assumed or recalled, with the range that they are"
        f" thought to lie in: {', '.join(names)}. What has no tag and no such word is arithmetic,"
        " or a choice of the model."
    )


def table(source: str) -> str:
    """Render all groups as Markdown, the meaning of the source tags below."""
    lines: list[str] = []
    for group in groups(source):
        lines += [f"**{group.title}**", ""] if group.title else []
        lines += ["| parameter | value | meaning, range, source |", "|---|---|---|"]
        for name, value, meaning in group.parameters:
            lines.append(f"| `{name}` | {value} | {meaning.replace('|', '/')} |")
        lines.append("")
    lines += [_assumed(source), ""]
    doc = ast.get_docstring(ast.parse(source)) or ""
    lines.append(doc[doc.index("Sources:") :] if "Sources:" in doc else doc)
    return "\n".join(lines)


def written(page: str, source: str) -> str:
    """Return the page with the table put between its marks.

    Raises:
        ValueError: the page has no such marks.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"expected the marks {BEGIN} and {END}")
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{table(source)}\n{END}{after}"


def main() -> None:
    """Write the page anew."""
    page = PAGE.read_text()
    PAGE.write_text(written(page, PARAMS.read_text()))


if __name__ == "__main__":
    main()
