#!/usr/bin/env python3
"""Reading a large CSV file: this worker beside pandas' C parser, turn about, with time and peak memory.

    cargo build --release --workspace --locked
    benches/compare/csv.py [--gigabytes 1] [--rounds 3] [--worker target/release/oma-worker]

Writes a file of 16 channels at 100 Hz into a temporary folder, makes a virtual environment with pandas there, and
prints a line for each run. pandas' time is that of `read_csv(engine="c")`, the text into numbers in memory. The worker's
`decode` is the same work, the text into numbers on disk, with the time axis and the SHA-256 of the file; its `ingest` goes
on to the preprocessed record: gaps, quality, detrending, Parquet. Both read a warm file. Peak memory is that of the whole
process by GNU time.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

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


def run(command: list[str], folder: Path, **environment: str) -> tuple[str, float]:
    """Runs a command and returns what it told and its peak memory, MiB."""
    report = folder / "time.txt"
    timed = ["/usr/bin/time", "-f", "%M", "-o", str(report), *command]
    told = subprocess.run(timed, check=True, capture_output=True, text=True, env=os.environ | environment)
    return told.stderr, int(report.read_text().split()[-1]) / 1024


def of_worker(worker: str, file: Path, folder: Path) -> tuple[dict[str, float], float]:
    result = folder / "result.json"
    command = [worker, "analyze", str(file), "--method", "fdd", "--output", str(result)]
    told, memory = run(command, folder, OMA_LOG="oma_worker=debug", OMA_LOG_FORMAT="json")
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    decode = next(event["seconds"] for event in events if event.get("message") == "raw files decoded")
    return {"decode": decode, "ingest": json.loads(result.read_text())["provenance"]["seconds"]["ingest"]}, memory


def of_pandas(python: str, file: Path, folder: Path) -> tuple[dict[str, float], float]:
    code = (
        "import sys, time, pandas\n"
        "start = time.perf_counter()\n"
        "pandas.read_csv(sys.argv[1], engine='c')\n"
        "print(time.perf_counter() - start, file=sys.stderr)\n"
    )
    told, memory = run([python, "-c", code, str(file)], folder)
    return {"read_csv": float(told)}, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", default="target/release/oma-worker")
    parser.add_argument("--no-pandas", action="store_true", help="time the worker alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TMPDIR"] = name
        file = folder / "record.csv"
        rows = write(file, int(options.gigabytes * 1e9))
        size = file.stat().st_size
        print(f"{size / 1e9:.2f} GB, {rows} rows, {CHANNELS} channels", flush=True)
        python = folder / "venv/bin/python"
        if not options.no_pandas:
            subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "pandas"], check=True)
        for number in range(options.rounds):
            readers = [("worker", of_worker, options.worker)]
            if not options.no_pandas:
                readers.append(("pandas", of_pandas, str(python)))
            for label, read, program in readers:
                stages, memory = read(program, file, folder)
                told = "  ".join(f"{name} {s:6.2f} s {size / 1e6 / s:6.0f} MB/s" for name, s in stages.items())
                print(f"round {number + 1}  {label}  {told}  {memory:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
