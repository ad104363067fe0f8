#!/usr/bin/env python3
"""Reading a large CSV file: this worker beside pandas' C parser, turn about, with time and peak memory.

    cargo build --release --workspace --locked
    benches/compare/csv.py [--gigabytes 1] [--rounds 3] [--pandas pandas==2.3.3] [--worker target/release/oma-worker]

Writes a file of 16 channels at 100 Hz into a temporary folder, makes a virtual environment with pandas there, and
prints a line for each run and the table of medians. pandas' time is that of `read_csv(engine="c")`, the text into numbers
in memory; from 3.1 on it parses on all cores. The worker's `decode` is the same work, the text into numbers on disk, with the time axis and the SHA-256 of the file; its `ingest` goes
on to the preprocessed record: gaps, quality, detrending, Parquet. Beside that stands pandas with SciPy's `detrend`. Both
read a warm file. Peak memory is that of the whole
process by GNU time.
"""

import argparse
import json
import os
import random
import tempfile
from pathlib import Path

from timing import HEAD, python_with, row, run

CHANNELS = 16
RATE_HZ = 100


def write(path: Path, size: int) -> int:
    """A CSV file of about `size` bytes; returns its number of rows."""
    noise = random.Random(1)
    # So many different rows that no cache of the parsers knows them all.
    cells = [",".join(f"{noise.gauss(0, 1):.6f}" for _ in range(CHANNELS)) for _ in range(50_000)]
    row = 0
    with path.open("w") as file:
        file.write("time," + ",".join(f"ch{k + 1}" for k in range(CHANNELS)) + "\n")
        while file.tell() < size:
            block = range(row, row + 50_000)
            file.writelines(f"{k / RATE_HZ:.2f},{cells[k % 50_000]}\n" for k in block)
            row += 50_000
    return row


def of_worker(program: str, file: Path, folder: Path) -> tuple[dict[str, float], float]:
    result = folder / "result.json"
    command = [program, "analyze", str(file), "--method", "fdd", "--output", str(result)]
    _, told, memory = run(command, folder, OMA_LOG="oma_worker=debug", OMA_LOG_FORMAT="json")
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    decode = next(event["seconds"] for event in events if event.get("message") == "raw files decoded")
    return {"decode": decode, "ingest": json.loads(result.read_text())["provenance"]["seconds"]["ingest"]}, memory


PANDAS = """
import sys, time, pandas
from scipy.signal import detrend
print(pandas.__version__)
start = time.perf_counter()
table = pandas.read_csv(sys.argv[1], engine="c")
print(time.perf_counter() - start)
detrend(table.to_numpy()[:, 1:], axis=0)
print(time.perf_counter() - start)
"""


def of_pandas(python: str, file: Path, folder: Path) -> tuple[dict[str, float], float]:
    told, _, memory = run([python, "-c", PANDAS, str(file)], folder)
    version, *seconds = told.split()
    print(f"pandas {version}")
    return dict(zip(("read_csv", "detrended"), map(float, seconds))), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", default="target/release/oma-worker")
    parser.add_argument("--pandas", default="pandas", help="a requirement as pip takes it")
    parser.add_argument("--no-pandas", action="store_true", help="time the worker alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TMPDIR"] = name
        file = folder / "record.csv"
        rows = write(file, int(options.gigabytes * 1e9))
        size = file.stat().st_size
        print(f"{size / 1e9:.2f} GB, {rows} rows, {CHANNELS} channels", flush=True)
        readers = {"worker": (of_worker, options.worker)}
        if not options.no_pandas:
            readers["pandas"] = (of_pandas, python_with([options.pandas, "scipy"], folder))
        seen: dict[str, list[tuple[float, float]]] = {}
        for number in range(options.rounds):
            for label, (read, program) in readers.items():
                stages, memory = read(program, file, folder)
                told = "  ".join(f"{name} {s:6.2f} s {size / 1e6 / s:6.0f} MB/s" for name, s in stages.items())
                print(f"round {number + 1}  {label}  {told}  {memory:6.0f} MiB", flush=True)
                for stage, seconds in stages.items():
                    seen.setdefault(stage, []).append((seconds, memory))
        if not options.no_pandas:
            print(HEAD)
            print(row("text into numbers", seen["decode"], "pandas, C parser", seen["read_csv"]))
            print(row("text into the preprocessed record", seen["ingest"], "pandas and SciPy", seen["detrended"]))


if __name__ == "__main__":
    main()
