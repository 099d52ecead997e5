"""Evaluations a second without HTTP, and memory over 200,000 of them.

An evaluation is everything after decoding: the chart, both rule engines, the cards. It is made of
the shipped example patients in turn. Resident memory is printed after a warm-up and at each 25,000;
exits with 1 when it grew by more than 10 MB. Linux only.

    python benchmarks/evaluations.py [--evaluations 200000]
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import sys
import time
from datetime import date
from itertools import cycle, islice
from pathlib import Path

from cds.advice import advise, load_rules
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from cds.rules.engine import keep_memory
from cds.settings import from_environment

TODAY = date(2026, 11, 16)
WARM_UP = 4_000
STEP = 25_000
ALLOWED_GROWTH = 10.0


def resident() -> float:
    """The resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS: this benchmark needs Linux")


def patients(folder: Path) -> list[tuple[str, Delivery]]:
    """The example patients, decoded."""
    read = []
    for path in sorted(folder.glob("*.bundle.json")):
        delivery = Delivery()
        read_resource(decode(path.read_bytes()), delivery, "Bundle")
        delivery.delivered |= RESOURCE_TYPES
        read.append((delivery.patients[0].id or "", delivery))
    return read


def main() -> int:
    """Run the benchmark; 1 where memory grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=200_000)
    wanted = parser.parse_args().evaluations
    keep_memory()
    settings = from_environment(os.environ)
    ruleset = load_rules(settings.rules)
    everybody = patients(settings.examples)
    gc.collect()
    gc.freeze()

    def evaluate(count: int) -> None:
        for patient, delivery in islice(cycle(everybody), count):
            # A delivery is used up by being read, so each evaluation has its own.
            own = copy.copy(delivery)
            own.excluded = []
            advise(own, patient, ruleset, TODAY)

    evaluate(WARM_UP)
    before = resident()
    print(f"after {WARM_UP} evaluations of {len(everybody)} patients: {before:.1f} MB")
    start = time.perf_counter()
    done = 0
    while done < wanted:
        step = min(STEP, wanted - done)
        evaluate(step)
        done += step
        rate = done / (time.perf_counter() - start)
        print(f"{done:>8}: {resident():.1f} MB, {rate:.0f} evaluations a second", flush=True)
    growth = resident() - before
    print(f"grew by {growth:.1f} MB (at most {ALLOWED_GROWTH:.0f})")
    return 1 if growth > ALLOWED_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
