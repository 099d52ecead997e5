import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from cds.settings import Settings, SettingsInvalid, check_servable, from_environment, today

CHECKOUT = Path(__file__).resolve().parents[1]


_NAMES = (
    *("CDS_RULES", "CDS_SITE", "CDS_HOST", "CDS_PORT", "CDS_AUTH", "CDS_TIMEZONE"),
    *("CDS_CLIENTS", "CDS_AUTH_OFF_ON_NETWORK"),
    *("CDS_FHIR_SERVERS", "CDS_FETCH_SECONDS"),
)


def problems_of(environ: dict[str, str]) -> tuple[str, ...]:
    """Return the problems that these variables are refused for."""
    with pytest.raises(SettingsInvalid) as refused:
        from_environment(environ)
    return refused.value.problems


def settings_with(**given: object) -> Settings:
    """Return the settings of a checkout, with what is given in place of the defaults."""
    shipped = Settings(rules=CHECKOUT / "rules", examples=CHECKOUT / "fhir_examples")
    return structs.replace(shipped, **given)


def test_an_empty_environment_gives_the_safe_defaults() -> None:
    """Without variables: loopback, port 8000, authentication required, the machine's time zone."""
    assert from_environment({}) == settings_with(
        host="127.0.0.1", port=8000, auth="required", timezone=None
    )


def test_an_empty_variable_counts_as_not_set() -> None:
    """A variable that is set to nothing leaves the default in place."""
    empty = {name: "" for name in _NAMES}
    assert from_environment(empty) == from_environment({})


def test_every_variable_is_read(tmp_path: Path) -> None:
    """Each variable sets its own field."""
    (tmp_path / "clients.yaml").touch()
    assert from_environment(
        {
            "CDS_RULES": str(tmp_path),
            "CDS_SITE": str(tmp_path),
            "CDS_HOST": "::1",
            "CDS_PORT": "9000",
            "CDS_AUTH": "off",
            "CDS_CLIENTS": str(tmp_path / "clients.yaml"),
            "CDS_AUTH_OFF_ON_NETWORK": "accept-the-risk",
            "CDS_FHIR_SERVERS": "https://ehr.example/fhir, 10.20.0.0/16,",
            "CDS_FETCH_SECONDS": "2.5",
            "CDS_TIMEZONE": "Europe/Stockholm",
        }
    ) == settings_with(
        rules=tmp_path,
        site=tmp_path,
        host="::1",
        port=9000,
        auth="off",
        clients=tmp_path / "clients.yaml",
        off_on_network=True,
        fhir_servers=("https://ehr.example/fhir", "10.20.0.0/16"),
        fetch_seconds=2.5,
        timezone=ZoneInfo("Europe/Stockholm"),
    )


def test_a_relative_rules_folder_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative CDS_RULES means the same folder after the working directory has changed."""
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    assert from_environment({"CDS_RULES": "site"}).rules == tmp_path / "site"
    assert from_environment({"CDS_SITE": "site"}).site == tmp_path / "site"


def test_a_site_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    """A CDS_SITE that names a file, or nothing, is refused: its changes would be missing."""
    (tmp_path / "site.yaml").write_text("site: Example\n", encoding="utf-8")
    for value in (str(tmp_path / "nothing"), str(tmp_path / "site.yaml")):
        (problem,) = problems_of({"CDS_SITE": value})
        assert problem.startswith(f"CDS_SITE is {value!r}, which is not a folder.")


def test_a_list_of_clients_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A CDS_CLIENTS that names a folder, or nothing, is refused: nobody could call."""
    for value in (str(tmp_path / "nothing"), str(tmp_path)):
        (problem,) = problems_of({"CDS_CLIENTS": value})
        assert problem.startswith(f"CDS_CLIENTS is {value!r}, which is not a file.")


@pytest.mark.parametrize("value", ["yes", "1", "true", "accept", "Accept-The-Risk"])
def test_the_risk_is_accepted_in_so_many_words_only(value: str) -> None:
    """No usual word for yes opens a network."""
    (problem,) = problems_of({"CDS_AUTH_OFF_ON_NETWORK": value})
    assert problem.startswith(f"CDS_AUTH_OFF_ON_NETWORK is {value!r}, which means nothing.")
    assert "accept-the-risk" in problem


@pytest.mark.parametrize("port", ["0", "65535"])
def test_the_first_and_the_last_port_are_accepted(port: str) -> None:
    """Ports run from 0 to 65535, both included."""
    assert from_environment({"CDS_PORT": port}).port == int(port)


@pytest.mark.parametrize(
    "port",
    ["65536", "-1", "80.0", "http", "1_000", " 8000", "٨٠", "tcp://10.0.0.1:8000", "9" * 5000],
)
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """Anything but a whole number from 0 to 65535 is refused with what to write."""
    (problem,) = problems_of({"CDS_PORT": port})
    assert problem.startswith(f"CDS_PORT is {port!r}, ")
    assert "from 0 (any free port) to 65535, such as 8000" in problem


@pytest.mark.parametrize("auth", ["Off", "on", "false", "none"])
def test_authentication_is_never_switched_off_by_a_near_miss(auth: str) -> None:
    """Only the exact word switches authentication off; any other is refused."""
    (problem,) = problems_of({"CDS_AUTH": auth})
    assert problem.startswith(f"CDS_AUTH is {auth!r}, ")
    assert "CDS_AUTH=required" in problem


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("0.5", 0.5), ("2", 2), ("86400", 86400)])
def test_the_seconds_between_looks_at_the_rules_are_read(value: str, seconds: float) -> None:
    """Whole seconds and parts of them, up to a day; 0 for never looking again."""
    assert from_environment({"CDS_RELOAD_SECONDS": value}).reload_seconds == seconds


@pytest.mark.parametrize("value", ["-1", "off", "2s", "1e3", "86401", "99999999", "nan", ".5", "٣"])
def test_seconds_that_are_none_are_refused(value: str) -> None:
    """What is no number of seconds is named, with what to write."""
    (problem,) = problems_of({"CDS_RELOAD_SECONDS": value})
    assert problem.startswith(f"CDS_RELOAD_SECONDS is {value!r}, ")
    assert "0 (never look for changed rules)" in problem


@pytest.mark.parametrize("value", ["0", "-1", "61", "1e1", "five", "٣"])
def test_what_is_no_time_for_fetching_is_refused(value: str) -> None:
    """A budget is above nothing, and no longer than anybody would wait."""
    (problem,) = problems_of({"CDS_FETCH_SECONDS": value})
    assert problem.startswith(f"CDS_FETCH_SECONDS is {value!r}, ")


def test_rules_that_are_no_folder_are_refused(tmp_path: Path) -> None:
    """A CDS_RULES that names a file, or nothing, is refused."""
    (tmp_path / "rule.yaml").touch()
    for value in (str(tmp_path / "rule.yaml"), str(tmp_path / "absent")):
        (problem,) = problems_of({"CDS_RULES": value})
        assert problem.startswith(f"CDS_RULES is {value!r}, which is not a folder.")


@pytest.mark.parametrize(
    ("zone", "advice"),
    [
        ("europe/stockholm", "Write Europe/Stockholm,"),
        ("America/New York", "Write America/New_York,"),
        ("Europe", "Write "),
        ("../etc/passwd", "Write "),
        ("??", "Write a name such as Europe/Stockholm,"),
    ],
)
def test_a_time_zone_that_is_none_is_refused(zone: str, advice: str) -> None:
    """An unknown time zone is refused, with the name that was probably meant."""
    (problem,) = problems_of({"CDS_TIMEZONE": zone})
    assert problem.startswith(f"CDS_TIMEZONE is {zone!r}, ")
    assert advice in problem


def test_every_problem_is_told_at_once() -> None:
    """Four wrong variables give four problems, and the text of the error has them all."""
    wrong = {
        "CDS_RULES": "/nonexistent",
        "CDS_PORT": "x",
        "CDS_AUTH": "y",
        "CDS_TIMEZONE": "z",
    }
    with pytest.raises(SettingsInvalid) as refused:
        from_environment(wrong)
    assert [problem.split()[0] for problem in refused.value.problems] == list(wrong)
    assert str(refused.value).splitlines() == [
        "The settings cannot be used:",
        *(f"  - {problem}" for problem in refused.value.problems),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_without_authentication_a_loopback_address_is_served(host: str) -> None:
    """A local trial is possible on every loopback address."""
    check_servable(settings_with(auth="off", host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "cds.example.org", "127.0.0.1:80"])
def test_without_authentication_no_other_address_is_served(host: str) -> None:
    """Nothing that a network may reach is served without authentication."""
    with pytest.raises(SettingsInvalid, match="anyone who reaches this address") as refused:
        check_servable(settings_with(auth="off", host=host))
    assert f"CDS_HOST is {host!r}" in str(refused.value)


def test_without_authentication_a_network_is_served_where_the_risk_was_accepted() -> None:
    """Such as a container whose only way in is a proxy that authenticates."""
    check_servable(settings_with(auth="off", host="0.0.0.0", off_on_network=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("accepted", [False, True])
def test_required_authentication_is_not_served_without_clients(host: str, accepted: bool) -> None:
    """The default refuses to serve, and says what to write; no other setting changes that."""
    with pytest.raises(SettingsInvalid, match=r"Write CDS_CLIENTS=clients\.yaml") as refused:
        check_servable(settings_with(auth="required", host=host, off_on_network=accepted))
    assert "CDS_AUTH=off" in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "cds.example.org"])
def test_with_clients_any_address_is_served(host: str) -> None:
    """Who calls from a network must authenticate."""
    check_servable(settings_with(host=host, clients=Path("/etc/clients.yaml")))


def test_today_is_the_date_in_the_time_zone_of_the_settings() -> None:
    """Between the ends of the earth, 26 hours apart, it is never the same day."""
    earliest = settings_with(timezone=ZoneInfo("Pacific/Kiritimati"))
    latest = settings_with(timezone=ZoneInfo("Etc/GMT+12"))
    assert today(latest) < today(earliest)


def test_today_is_the_machine_s_date_without_a_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no time zone is set, that of the machine decides."""
    dates = []
    with monkeypatch.context() as machine:
        for zone in ("Etc/GMT+12", "Pacific/Kiritimati"):
            machine.setenv("TZ", zone)
            time.tzset()
            dates.append(today(settings_with(timezone=None)))
    time.tzset()
    assert dates[0] < dates[1]
