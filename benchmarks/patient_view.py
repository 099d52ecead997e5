"""Latency of the patient-view call beside a floor, measured in turn in one run.

The floor is the least that any service on this stack does: the same FastAPI, the same msgspec
structures, every resource of the request decoded, one fixed card. Both answer over HTTP on the
loopback interface, from one server process, to one connection, call by call in turn; medians are
compared. The same is measured without HTTP (the application called in the process), where the
floor is lower and so the ratio harsher.

    python benchmarks/patient_view.py [--calls 1000]

Exits with 1 where a median over HTTP passes its bound: 4 times the floor at 20 Observations, 3
times at 60 and 500, 1.5 times for a patient without myositis.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from cds.advice import load_rules
from cds.cards.card import Card, Source
from cds.fhir.bundles import decode
from cds.fhir.resources import Bundle
from cds.hooks.logs import log_json
from cds.hooks.prefetch import make_templates
from cds.hooks.requests import read_request
from cds.hooks.service import create_app
from cds.rules.engine import keep_memory
from cds.settings import from_environment

CALL = "/cds-services/myositis-patient-view"
FLOOR = "/floor"
TODAY = date(2026, 11, 16)
BOUNDS = {"20": 4.0, "60": 3.0, "500": 3.0, "no myositis": 1.5}

CORE_SET = "https://myositis-cds.example/fhir/CodeSystem/core-set-measure"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"

SERIES: tuple[tuple[str, str, str, float, float, int | None], ...] = (
    # system, code, unit, value at the first visit and at the last, upper limit
    (CORE_SET, "physician-global", "cm", 7.0, 3.0, None),
    (CORE_SET, "patient-global", "cm", 6.5, 3.5, None),
    (CORE_SET, "mmt8-150", "{score}", 110.0, 138.0, None),
    (LOINC, "75874-8", "{score}", 1.875, 1.0, None),
    (LOINC, "2157-6", "U/L", 3000.0, 400.0, 200),
    (CORE_SET, "extramuscular-global", "cm", 5.0, 2.0, None),
    (LOINC, "1761-6", "U/L", 14.0, 8.0, 8),
    (LOINC, "2532-0", "U/L", 600.0, 300.0, 250),
    (LOINC, "1920-8", "U/L", 120.0, 40.0, 40),
    (LOINC, "1742-6", "U/L", 110.0, 40.0, 40),
)


def observation(index: int, visits: int) -> dict[str, Any]:
    """The Observation of that number: ten a visit, visits four weeks apart, the last one last."""
    visit, which = divmod(index, len(SERIES))
    system, code, unit, first, last, limit = SERIES[which]
    day = TODAY - timedelta(days=28 * (visits - 1 - visit) + 2)
    value = first + (last - first) * (visit / max(visits - 1, 1))
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"o{index}",
        "status": "final",
        "category": [{"coding": [{"code": "survey"}]}],
        "code": {"coding": [{"system": system, "code": code, "display": code}], "text": code},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": f"{day}T09:30:00+01:00",
        "issued": f"{day}T11:00:00+01:00",
        "valueQuantity": {
            "value": round(value, 1),
            "unit": unit,
            "system": UCUM,
            "code": unit,
        },
    }
    if limit is not None:
        made["referenceRange"] = [{"high": {"value": limit, "unit": unit}}]
    return made


def request(observations: int, *, myositis: bool = True) -> bytes:
    """A patient-view request with so many Observations, half of them two visits at the least."""
    visits = max(observations // len(SERIES), 2)
    first = TODAY - timedelta(days=28 * (visits - 1))
    code = ("396230008", "Dermatomyositis") if myositis else ("38341003", "Hypertension")
    conditions = [
        {
            "resourceType": "Condition",
            "id": "c1",
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": {
                "coding": [
                    {"system": "http://snomed.info/sct", "code": code[0], "display": code[1]}
                ]
            },
            "subject": {"reference": "Patient/p1"},
            "onsetDateTime": str(first),
        }
    ]
    orders = [
        {
            "resourceType": "MedicationRequest",
            "id": f"m{i}",
            "status": "active",
            "intent": "order",
            "medicationCodeableConcept": {
                "coding": [
                    {
                        "system": "http://www.nlm.nih.gov/research/umls/rxnorm",
                        "code": rxnorm,
                        "display": name,
                    }
                ],
                "text": name,
            },
            "subject": {"reference": "Patient/p1"},
            "authoredOn": str(first),
            "dosageInstruction": [{"route": {"text": "Oral"}}],
        }
        for i, (rxnorm, name) in enumerate((("8638", "prednisolone"), ("6851", "methotrexate")))
    ]
    made = [observation(i, visits) for i in range(observations)]
    prefetch = dict.fromkeys(prefetch_keys(), searchset([])) | {
        "patient": {"resourceType": "Patient", "id": "p1", "birthDate": "1970-01-01"},
        "conditions": searchset(conditions),
        "core_set_measures": searchset(made),
        "medication_requests": searchset(orders),
    }
    return msgspec.json.encode(
        {
            "hook": "patient-view",
            "hookInstance": "6bb7daf0-0000-4000-8000-000000000001",
            "context": {"userId": "Practitioner/1", "patientId": "p1"},
            "prefetch": prefetch,
        }
    )


@functools.cache
def prefetch_keys() -> tuple[str, ...]:
    """What the service asks for: of what is not made up here the record holds nothing."""
    ruleset = load_rules(from_environment(os.environ).rules)
    try:
        return tuple(template.key for template in make_templates(ruleset.terms.vocabulary))
    finally:
        ruleset.close()


def searchset(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of a search that holds these resources."""
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [
            {"fullUrl": f"https://ehr.example/{r['resourceType']}/{r['id']}", "resource": r}
            for r in resources
        ],
    }


def add_floor(app: FastAPI) -> FastAPI:
    """Add the floor to an application: everything decoded, one fixed card."""
    card = Card(
        uuid="3c1f7c53-7a1c-5a55-9d3f-000000000001",
        summary="A fixed card",
        indicator="info",
        detail="One sentence.",
        source=Source("Nobody"),
    )

    @app.post(FLOOR)
    async def floor(request: Request) -> Response:
        call = read_request(await request.body(), "patient-view")
        for raw in (call.prefetch or {}).values():
            resource = decode(raw)
            if isinstance(resource, Bundle):
                for entry in resource.entry:
                    if isinstance(entry.resource, msgspec.Raw):
                        decode(entry.resource)
        return Response(msgspec.json.encode({"cards": [card]}), media_type="application/json")

    return app


def make_app() -> FastAPI:
    """The service as it is served, with the floor beside it; its log is written and not kept."""
    with contextlib.redirect_stderr(open(os.devnull, "w")):
        log_json()
    keep_memory()
    app = add_floor(create_app(load_rules(from_environment(os.environ).rules), lambda: TODAY))
    gc.collect()
    gc.freeze()
    return app


def in_turn(
    call: Callable[[str, bytes], None], body: bytes, calls: int
) -> tuple[float, float, float]:
    """Medians of floor and service in µs, and the service's 95th percentile."""
    times: dict[str, list[float]] = {FLOOR: [], CALL: []}
    for i in range(calls + 50):
        for path, taken in times.items():
            start = time.perf_counter()
            call(path, body)
            if i >= 50:
                taken.append((time.perf_counter() - start) * 1e6)
    ordered = sorted(times[CALL])
    return (
        statistics.median(times[FLOOR]),
        statistics.median(times[CALL]),
        ordered[int(len(ordered) * 0.95)],
    )


def over_http(bodies: dict[str, bytes], calls: int) -> dict[str, float]:
    """Measure over HTTP against a server process of its own; prints, and gives the ratios."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        answer = connection.recv(65536)
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        header, _, rest = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", header, re.IGNORECASE)
        if not header.startswith(b"HTTP/1.1 200") or length is None:
            raise SystemExit(f"{path} answered {header[:60]!r}: {rest[:300]!r}")
        missing = int(length[1]) - len(rest)
        while missing > 0:
            missing -= len(connection.recv(65536))

    try:
        return report("over HTTP on loopback", call, bodies, calls)
    finally:
        connection.close()
        server.terminate()
        server.wait(10)


def in_process(bodies: dict[str, bytes], calls: int) -> dict[str, float]:
    """Measure without HTTP: the application is called as its server would."""
    app = make_app()
    loop = asyncio.new_event_loop()

    def call(path: str, body: bytes) -> None:
        status = loop.run_until_complete(ask(app, path, body))
        if status != 200:
            raise SystemExit(f"{path} answered {status}")

    return report("in the process, without HTTP", call, bodies, calls)


async def ask(app: FastAPI, path: str, body: bytes) -> int:
    """Call an ASGI application; its status."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return status


def report(
    title: str, call: Callable[[str, bytes], None], bodies: dict[str, bytes], calls: int
) -> dict[str, float]:
    """Measure every body and print a table; the ratios of the medians by name."""
    print(f"\n{title}, {calls} calls each, µs")
    print(f"{'Observations':>14} {'floor':>8} {'service':>8} {'p95':>8} {'ratio':>6}")
    ratios = {}
    for name, body in bodies.items():
        floor, service, p95 = in_turn(call, body, calls)
        ratios[name] = service / floor
        print(f"{name:>14} {floor:8.0f} {service:8.0f} {p95:8.0f} {ratios[name]:6.2f}")
    return ratios


def serve() -> None:
    """Serve application and floor on a free port, which is printed."""
    import uvicorn

    # Named TCP, since asyncio switches delayed writes off only for sockets that say so.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(make_app(), log_level="warning", access_log=False)
    asyncio.run(uvicorn.Server(config).serve([listener]))


def main() -> int:
    """Run the benchmark; 1 where a bound is passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    bodies = {
        "20": request(20),
        "60": request(60),
        "500": request(500),
        "no myositis": request(60, myositis=False),
    }
    critical = Path(from_environment(os.environ).examples) / "rp-ild-mda5.request.json"
    ratios = over_http({**bodies, "rp-ild-mda5": critical.read_bytes()}, options.calls)
    in_process({**bodies, "rp-ild-mda5": critical.read_bytes()}, options.calls)
    passed = [name for name, bound in BOUNDS.items() if ratios[name] > bound]
    for name in passed:
        print(
            f"over the bound: {name}, {ratios[name]:.2f} times the floor (at most {BOUNDS[name]})"
        )
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
