import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from cds.settings import (
    Operation,
    Settings,
    SettingsInvalid,
    check_servable,
    from_environment,
    host_names,
    metrics_host_names,
    today,
)

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
            "CDS_HOST_NAMES": "CDS.hospital.example, 10.0.0.1, fd00::1",
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
        host_names=("cds.hospital.example", "10.0.0.1", "fd00::1"),
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


def test_pages_of_any_origin_may_call_on_this_machine_only() -> None:
    """Elsewhere each visitor's browser would open the service to the pages that it shows."""
    any_origin = Operation(cors_origins=("*",))
    check_servable(settings_with(auth="off", operation=any_origin))
    with pytest.raises(SettingsInvalid, match=r"CDS_CORS_ORIGINS is '\*' and CDS_HOST is '0\.0"):
        check_servable(
            settings_with(auth="off", host="0.0.0.0", off_on_network=True, operation=any_origin)
        )


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


def test_servers_for_a_trial_are_refused_where_clients_have_their_own() -> None:
    """They would be without effect, and whoever wrote them would wonder why nothing is fetched."""
    listed = settings_with(clients=Path("clients.yaml"), fhir_servers=("https://ehr.example",))

    with pytest.raises(SettingsInvalid, match="`fhir_servers` of the client in CDS_CLIENTS"):
        check_servable(listed)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"auth": "off"}, ()),
        ({"auth": "off", "host": "::1"}, ()),
        ({"auth": "off", "host_names": ("cds.example",)}, ("cds.example",)),
        ({"auth": "off", "off_on_network": True, "host": "0.0.0.0"}, None),
        ({"auth": "required"}, None),
        ({"auth": "required", "host_names": ("cds.example",)}, ("cds.example",)),
    ],
)
def test_without_authentication_on_loopback_only_loopback_is_called(
    given: dict[str, object], names: tuple[str, ...] | None
) -> None:
    """Names of one's own count besides, and wherever they are given."""
    assert host_names(settings_with(**given)) == names


@pytest.mark.parametrize(
    ("host", "listed", "names"),
    [
        ("127.0.0.1", (), ()),
        ("localhost", ("cds.example",), ("cds.example",)),
        ("10.0.0.2", (), None),
        ("10.0.0.2", ("cds.example",), ("cds.example",)),
    ],
)
def test_metrics_are_asked_for_by_the_names_of_the_service(
    host: str, listed: tuple[str, ...], names: tuple[str, ...] | None
) -> None:
    """Nobody authenticates for them, so on loopback only its names are answered, always."""
    settings = settings_with(host_names=listed, operation=Operation(metrics_host=host))
    assert metrics_host_names(settings) == names


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


def test_what_is_kept_goes_to_the_state_folder_of_the_user() -> None:
    """XDG_STATE_HOME if it is absolute, else ~/.local/state; CDS_STATE before both."""

    def state(**environ: str) -> str:
        return str(from_environment({"HOME": "/home/x", **environ}).state)

    assert state() == "/home/x/.local/state/myositis-cds"
    assert state(XDG_STATE_HOME="/state") == "/state/myositis-cds"
    assert state(XDG_STATE_HOME="state") == "/home/x/.local/state/myositis-cds"
    assert state(XDG_STATE_HOME="/state", CDS_STATE="/srv/cds") == "/srv/cds"


def test_database_key_and_days_are_taken() -> None:
    """0 days keeps everything for ever."""
    settings = from_environment(
        {
            "CDS_DATABASE_URL": "postgresql://cds@db/cds",
            "CDS_PSEUDONYM_KEY_FILE": "/run/secrets/key",
            "CDS_KEEP_DAYS": "0",
        }
    )

    assert settings.database_url == "postgresql://cds@db/cds"
    assert settings.pseudonym_key == Path("/run/secrets/key")
    assert settings.keep_days == 0


@pytest.mark.parametrize("value", ["-1", "two", "1.5", "9999999"])
def test_days_that_are_no_number_are_refused(value: str) -> None:
    """The variable, its value, and what to write."""
    (problem,) = problems_of({"CDS_KEEP_DAYS": value})
    assert f"CDS_KEEP_DAYS is '{value}'" in problem
    assert "such as 730" in problem


def test_every_variable_of_the_operation_is_read() -> None:
    """Each variable sets its own field."""
    environ = {
        "CDS_AUTH": "off",
        "CDS_FETCH_SECONDS": "0.2",
        "CDS_WORKERS": "4",
        "CDS_SHUTDOWN_SECONDS": "5",
        "CDS_MAX_BODY_BYTES": "2048",
        "CDS_MAX_ENTRIES": "50",
        "CDS_MAX_CALLS": "6",
        "CDS_MAX_HELD_BYTES": "4096",
        "CDS_RECEIVE_SECONDS": "1.5",
        "CDS_ANSWER_SECONDS": "0.5",
        "CDS_CORS_ORIGINS": "https://ehr.example.org, http://localhost:8080",
        "CDS_FORWARDED_ALLOW_IPS": "10.0.0.1, fd00::/8",
        "CDS_METRICS_PORT": "0",
        "CDS_METRICS_HOST": "10.0.0.2",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer abc",
    }
    assert from_environment(environ).operation == Operation(
        workers=4,
        shutdown_seconds=5,
        max_body_bytes=2048,
        max_entries=50,
        max_calls=6,
        max_held_bytes=4096,
        receive_seconds=1.5,
        answer_seconds=0.5,
        cors_origins=("https://ehr.example.org", "http://localhost:8080"),
        forwarded_allow_ips=("10.0.0.1", "fd00::/8"),
        metrics_port=0,
        metrics_host="10.0.0.2",
        tracing=True,
        tracing_headers="authorization=Bearer abc",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CDS_WORKERS", "0"),
        ("CDS_WORKERS", "two"),
        ("CDS_WORKERS", "65"),
        ("CDS_SHUTDOWN_SECONDS", "-1"),
        ("CDS_MAX_BODY_BYTES", "8 MiB"),
        ("CDS_MAX_ENTRIES", "0"),
        ("CDS_MAX_CALLS", "1e3"),
        ("CDS_MAX_HELD_BYTES", "1023"),
        ("CDS_RECEIVE_SECONDS", "0"),
        ("CDS_ANSWER_SECONDS", "3601"),
        ("CDS_METRICS_PORT", "65536"),
        ("CDS_CORS_ORIGINS", "ehr.example.org"),
        ("CDS_CORS_ORIGINS", "https://ehr.example.org/"),
        ("CDS_CORS_ORIGINS", "https://EHR.example.org"),
        ("CDS_CORS_ORIGINS", "https://ehr.example.org:443"),
        ("CDS_CORS_ORIGINS", "https://*.example.org"),
        ("CDS_CORS_ORIGINS", "https://[x"),
        ("CDS_HOST_NAMES", "https://cds.example.org"),
        ("CDS_HOST_NAMES", "cds.example.org:8000"),
        ("CDS_HOST_NAMES", "*"),
        ("CDS_HOST_NAMES", "cds.example.org."),
        ("CDS_FORWARDED_ALLOW_IPS", "proxy.example.org"),
        ("CDS_FORWARDED_ALLOW_IPS", "*"),
        ("CDS_FORWARDED_ALLOW_IPS", "10.0.0.1/8"),
        ("CDS_FORWARDED_ALLOW_IPS", "0.0.0.0/0"),
        ("CDS_FORWARDED_ALLOW_IPS", "::/0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
    ],
)
def test_what_the_operation_cannot_use_is_refused(name: str, value: str) -> None:
    """The variable and its value are named, with what to write."""
    (problem,) = problems_of({name: value})
    assert problem.startswith((f"{name} is {value!r}, ", f"{name} has {value!r}, "))
    assert "Write " in problem


def test_a_token_for_the_collector_is_sent_encrypted_or_to_this_machine_only() -> None:
    """Without one the collector may be elsewhere; what the header holds is not repeated."""
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer abc"}
    elsewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318"}
    (problem,) = problems_of(elsewhere | headers)
    assert problem.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is 'http://collector.example:4318'")
    assert "Write https" in problem
    assert "abc" not in problem
    for fine in (
        elsewhere,
        headers | {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example"},
        headers | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
    ):
        assert from_environment(fine).operation.tracing


@pytest.mark.parametrize("general", ["https://c.example", "http://localhost:4318"])
@pytest.mark.parametrize(
    "headers", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"]
)
def test_the_collector_that_counts_for_traces_gets_no_token_unencrypted(
    general: str, headers: str
) -> None:
    """OpenTelemetry sends spans to the address for traces alone where there is one."""
    token = {headers: "authorization=Bearer abc", "OTEL_EXPORTER_OTLP_ENDPOINT": general}
    alone = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    (problem,) = problems_of(token | {alone: "http://collector.example:4318/v1/traces"})
    assert problem.startswith(f"{alone} is 'http://collector.example:4318/v1/traces', to which")
    assert headers in problem
    assert "abc" not in problem
    for fine in ({}, {alone: "https://c.example/v1/traces"}, {alone: "http://[::1]:4318/v1"}):
        assert from_environment(token | fine).operation.tracing


def test_a_token_for_traces_alone_is_no_exception() -> None:
    """The header of OpenTelemetry's own variable is as secret as that of the general one."""
    headers = {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer abc"}
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
    (problem,) = problems_of(headers | {endpoint: "http://collector.example:4318"})
    assert problem.startswith(f"{endpoint} is 'http://collector.example:4318', to which OTEL_")
    assert "OTEL_EXPORTER_OTLP_TRACES_HEADERS would be sent without encryption" in problem


def test_an_address_for_traces_alone_that_is_none_is_refused() -> None:
    """It is named as the general one is, and nothing is said of the token besides."""
    (problem,) = problems_of(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "HTTP://collector.example",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer abc",
        }
    )
    assert problem.startswith("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is 'HTTP://collector.example',")


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"CDS_FETCH_SECONDS": "15"}, ("CDS_FETCH_SECONDS is 15", "CDS_ANSWER_SECONDS is 15")),
        ({"CDS_ANSWER_SECONDS": "4.5"}, ("CDS_FETCH_SECONDS is 5", "CDS_ANSWER_SECONDS is 4.5")),
        ({"CDS_MAX_HELD_BYTES": "8388607"}, ("CDS_MAX_HELD_BYTES is 8388607", "is 8388608")),
        ({"CDS_MAX_BODY_BYTES": "67108865"}, ("CDS_MAX_BODY_BYTES is 67108865", "is 67108864")),
    ],
)
def test_settings_of_which_one_defeats_the_other_are_refused(
    environ: dict[str, str], names: tuple[str, ...]
) -> None:
    """Both are named with their values, also where one of them is the default."""
    (problem,) = problems_of(environ)
    assert all(name in problem for name in names)
    assert "Write " in problem


def test_settings_that_go_together_are_accepted_up_to_the_bound() -> None:
    """Fetching may end just before the answer, and one body of the largest size may be all."""
    operation = from_environment(
        {"CDS_FETCH_SECONDS": "14.9", "CDS_MAX_HELD_BYTES": "8388608"}
    ).operation
    assert operation.max_held_bytes == operation.max_body_bytes


def test_pages_of_every_origin_may_call_only_in_a_trial() -> None:
    """With authentication off a star is accepted, alone; otherwise origins are to be named."""
    assert from_environment(
        {"CDS_AUTH": "off", "CDS_CORS_ORIGINS": "*"}
    ).operation.cors_origins == ("*",)
    for environ in (
        {"CDS_CORS_ORIGINS": "*"},
        {"CDS_AUTH": "off", "CDS_CORS_ORIGINS": "*,https://ehr.example.org"},
    ):
        (problem,) = problems_of(environ)
        assert problem.startswith("CDS_CORS_ORIGINS has '*', ")


# --- values that stand in files ------------------------------------------------------------------


def test_a_value_may_stand_in_a_file(tmp_path: Path) -> None:
    """Any variable with `_FILE` behind its name names one, whose line it is."""
    address = tmp_path / "database-url"
    address.write_text("postgresql://cds:secret@database/cds\n")
    (tmp_path / "port").write_text("9000")
    (tmp_path / "headers").write_text("authorization=Bearer abc\n")

    settings = from_environment(
        {
            "CDS_DATABASE_URL_FILE": str(address),
            "CDS_PORT_FILE": str(tmp_path / "port"),
            "CDS_TIMEZONE_FILE": "",
            "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(tmp_path / "headers"),
        }
    )

    assert settings.database_url == "postgresql://cds:secret@database/cds"
    assert settings.port == 9000
    assert settings.operation.tracing_headers == "authorization=Bearer abc"


def test_the_key_of_the_pseudonyms_stands_in_no_variable(tmp_path: Path) -> None:
    """Its setting names a file, which is not read as the value of another variable."""
    settings = from_environment({"CDS_PSEUDONYM_KEY_FILE": str(tmp_path / "key")})
    assert settings.pseudonym_key == tmp_path / "key"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file or directory"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"secret\nsecret", "it has several lines"),
        (b"secret\x00", "characters that are not printable"),
        (b"secret\xff", "it is not UTF-8"),
        (b"secret" * 20_000, "it has more than 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_value_is_refused(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    """The variable, the file and the reason are told, and nothing of what stands in it."""
    file = tmp_path / "database-url"
    if content is not None:
        file.write_bytes(content)

    (problem,) = problems_of({"CDS_DATABASE_URL_FILE": str(file)})

    assert problem.startswith(f"CDS_DATABASE_URL_FILE is {str(file)!r}, which cannot be used: ")
    assert told in problem
    assert "secret" not in problem


def test_a_value_and_a_file_of_it_are_refused(tmp_path: Path) -> None:
    """Which of them counts would be a guess."""
    (tmp_path / "port").write_text("9000")
    (problem,) = problems_of({"CDS_PORT": "8000", "CDS_PORT_FILE": str(tmp_path / "port")})
    assert problem.startswith("CDS_PORT and CDS_PORT_FILE are both set")


def test_names_that_nothing_asks_for_are_told(tmp_path: Path) -> None:
    """A misspelt name would else mean the default, in silence; those of tests are no settings."""
    (tmp_path / "days").write_text("30")
    settings = from_environment(
        {
            "CDS_KEEP_DAY": "30",
            "CDS_CLIENT_FILE": str(tmp_path / "days"),
            "CDS_KEEP_DAYS_FILE": str(tmp_path / "days"),
            "CDS_PSEUDONYM_KEY_FILE": str(tmp_path / "key"),
            "CDS_TEST_BROWSER": "required",
            "CDS_AUTH": "off",
            "PATH": "/usr/bin",
        }
    )
    assert settings.unknown == ("CDS_CLIENT_FILE", "CDS_KEEP_DAY")
    assert settings.keep_days == 30
