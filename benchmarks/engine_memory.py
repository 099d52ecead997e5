"""Does the rule engine keep its memory over hundreds of thousands of evaluations?

Evaluates rules of three shards over changing attributes, prints the resident memory after a
warm-up and at each 25,000 evaluations, and exits with 1 when it grew by more than 5 MB. Linux only.

    python benchmarks/engine_memory.py [--evaluations 200000]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from decimal import Decimal
from pathlib import Path

from cds.rules.engine import Engine, keep_memory
from cds.rules.formula import Both, Compare, Either, Formula, Value

WARM_UP = 2_000
STEP = 25_000
ALLOWED_GROWTH = 5.0


def resident() -> float:
    """The resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS: this benchmark needs Linux")


def rules() -> dict[str, Formula]:
    """Forty rules with 160 comparisons."""
    return {
        f"rule {i}": Both(
            (
                Compare(f"known {i % 10}", "==", True),
                Either(
                    (
                        Compare(f"number {i % 20}", ">=", Decimal(i)),
                        Compare(f"number {(i + 7) % 20}", "<", Decimal(i) / 8),
                    )
                ),
                Compare("level", "==", ("low", "high")[i % 2]),
            )
        )
        for i in range(40)
    }


def attributes(source: random.Random) -> dict[str, Value]:
    """Some of the attributes that the rules name, each evaluation with others."""
    values: dict[str, Value] = {
        f"known {i}": source.random() < 0.7 for i in range(10) if source.random() < 0.8
    }
    values |= {
        f"number {i}": Decimal(source.randrange(5_000)) / 100
        for i in range(20)
        if source.random() < 0.8
    }
    if source.random() < 0.9:
        values["level"] = source.choice(("low", "high"))
    return values


def main() -> int:
    """Run the evaluations; 1 when memory grew by more than is allowed, else 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=200_000)
    count = parser.parse_args().evaluations

    print(f"keep_memory: {keep_memory()}")
    engine = Engine(rules())
    source = random.Random(7)
    fired = sum(len(engine.fired(attributes(source))) for _ in range(WARM_UP))
    start = resident()
    print(f"{'warm-up':>9}: {start:7.1f} MB")
    began = time.perf_counter()
    for done in range(1, count + 1):
        fired += len(engine.fired(attributes(source)))
        if done % STEP == 0 or done == count:
            each = (time.perf_counter() - began) / done * 1e6
            print(f"{done:9,}: {resident():7.1f} MB  {each:4.0f} µs an evaluation", flush=True)
    growth = resident() - start
    print(f"{fired:,} rules fired; memory grew by {growth:.1f} MB (allowed {ALLOWED_GROWTH:.1f})")
    engine.close()
    return int(growth > ALLOWED_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
