import pytest

from cds.addresses import is_this_machine, literal_address


@pytest.mark.parametrize(
    ("host", "this"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("127.1", False),
        ("2130706433", False),
    ],
)
def test_only_localhost_and_loopback_addresses_are_this_machine(host: str, this: bool) -> None:
    """Every other name may lead anywhere, and every other way of writing an address is a name."""
    assert is_this_machine(host) is this


def test_a_name_is_no_address() -> None:
    """An address is told from a name by how it is written, of either kind."""
    assert [str(literal_address(host)) for host in ("10.0.0.1", "fd00::1", "ehr.example")] == [
        "10.0.0.1",
        "fd00::1",
        "None",
    ]
