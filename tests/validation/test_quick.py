"""The quick set: every quantity within its range, or the experiment says why not."""

import pytest

from validation.document import document
from validation.experiment import catalogue
from validation.running import measure


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, one in catalogue().items() if one.quick is not None]
)
def test_quick(name: str) -> None:
    found = document(measure([catalogue()[name]], quick=True, processes=1), True, False)
    assert found.quantities
    assert not [
        f"{quantity.name}: {quantity.values} {quantity.by}"
        for quantity in found.quantities
        if quantity.unexplained
    ]
