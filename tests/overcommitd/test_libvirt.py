"""What a domain's description says, and the API by libvirt's own test driver."""

import contextlib
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from contract.decision import Decision
from contract.host import BackendUnavailable
from overcommitd.config import Rule

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
from overcommitd.backend import open_backend  # noqa: E402
from overcommitd.backends import libvirt as backend  # noqa: E402
from overcommitd.config import DaemonConfig  # noqa: E402
from overcommitd.hypervisor import Seen  # noqa: E402

GIB = 1 << 30
DEVICE = """<memory model='virtio-mem'><target><size unit='KiB'>1048576</size><node>0</node>
<block unit='KiB'>2048</block><requested unit='KiB'>0</requested>
<current unit='KiB'>0</current></target></memory>"""


def described(terms: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        f"<domain><metadata><o:guest xmlns:o='urn:overcommit:guest' {terms}/></metadata></domain>"
    )


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ("", Rule()),
        ("min='2GiB' weight='7'", Rule(min=2 * GIB, weight=7)),
        ("min_share='0.5' max='4GiB'", Rule(min_share=0.5, max=4 * GIB)),
        ("manage='no'", Rule(manage=False)),
        ("manage='perhaps'", Rule(manage=False)),
        ("min='much'", Rule(manage=False)),
        ("weight='-3'", Rule(manage=False)),
        ("colour='red'", Rule(manage=False)),
    ],
)
def test_terms_in_the_metadata_and_what_is_not_understood_is_left_alone(
    terms: str, rule: Rule
) -> None:
    assert backend.terms_of(described(terms), "web") == rule


def test_no_metadata_is_no_terms() -> None:
    assert backend.terms_of(ElementTree.fromstring("<domain/>"), "web") is None


def test_virtio_mem_is_asked_for_whole_blocks() -> None:
    known = backend.Description(0.0, Seen("k", "web"), DEVICE, 2 << 20, GIB)
    text = backend._requested(known, GIB + 301 * (1 << 20))
    requested = ElementTree.fromstring(text).find("./target/requested")
    assert requested is not None and requested.text == str(300 * 1024)


def opened(uri: str) -> Any:  # noqa: ANN401
    fields = {"backend": {"kind": "libvirt", "options": {"uri": uri}}}
    return contextlib.closing(open_backend(DaemonConfig.model_validate(fields)))


def test_a_domain_that_is_paused_migrates_or_is_gone() -> None:
    with opened("test:///default") as host:
        told = host.read()
        assert told.state[told.present] == [2]
        domain = next(iter(host.hypervisor._domains.values()))
        domain.suspend()
        told = host.read()
        assert told.state[told.present] == [4]
        domain.resume()
        domain.destroy()
        target = np.where(told.present, told.max_bytes // 2, -1)
        with contextlib.suppress(Exception):
            host.apply(Decision(target))
        assert not host.read().present.any()


def test_a_connection_that_cannot_be_made_is_unavailable_and_told_by_check() -> None:
    with opened("qemu+unix:///session?socket=/none") as host:
        with pytest.raises(BackendUnavailable, match="/none"):
            host.read()
        failed = [one for one in host.examine() if not one.ok]
        assert any("does libvirtd run" in one.advice for one in failed)
