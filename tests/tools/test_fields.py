"""The page of a scenario's fields is what the models say."""

from scenarios.schema import Arm, Guest, Mechanisms
from tools import fields


def test_the_page_is_made_from_the_models() -> None:
    assert fields.PAGE.read_text() == fields.page(), "run: python -m tools.fields"


def test_every_field_of_every_model_is_on_it() -> None:
    sections = fields.page().split("\n## ")[1:]
    for model, section in zip(fields.models(), sections, strict=True):
        assert section.startswith(model.__name__)
        for name in model.model_fields:
            assert f"| `{name}` |" in section
    assert {Guest, Arm, Mechanisms} <= set(fields.models())


def test_values_and_defaults_are_as_people_write_them() -> None:
    page = fields.page()
    assert "| `resize` | `none`, `balloon`, `balloon_huge`, `virtio_mem`, `free_target` |" in page
    assert "| `min` | size or share | `25%` | or a share of size |" in page
    assert "| `reserved` | size | `64MiB` | the host's own kernel and daemons |" in page
    assert "| `starts` | list of span | none |" in page
    assert "| `seconds` | span |  | so long |" in page
