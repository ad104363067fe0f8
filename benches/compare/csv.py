#!/usr/bin/env python3
"""Reading a large CSV file: this worker beside pandas' C parser, turn about, with time and peak memory.

    cargo build --release --workspace --locked
    benches/compare/csv.py [--gigabytes 1] [--rounds 3] [--pandas pandas==3.1.1,pandas==2.3.3] [--folder DIR]
                           [--worker target/release/oma-worker]

Writes a file of 16 channels at 100 Hz, makes a virtual environment for each pandas, and prints a line for each run and the
table of medians; `--folder` keeps file and environments for another time. pandas' time is that of
`read_csv(engine="c")`, the text into numbers in memory; from 3.1 on it parses on all cores, before on one. The worker's
`decode` is the same work, the text into numbers on disk, with the time axis and the SHA-256 of the file; its `ingest` goes
on to the preprocessed record: gaps, quality, detrending, Parquet. Beside that stands pandas with SciPy's `detrend`. Both
read a warm file. Peak memory is that of the whole process by GNU time.
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


def write(path: Path, size: int) -> None:
    """A CSV file of about `size` bytes."""
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
start = time.perf_counter()
table = pandas.read_csv(sys.argv[1], engine="c")
print(time.perf_counter() - start)
detrend(table.to_numpy()[:, 1:], axis=0)
print(time.perf_counter() - start)
"""


def of_pandas(python: str, file: Path, folder: Path) -> tuple[dict[str, float], float]:
    told, _, memory = run([python, "-c", PANDAS, str(file)], folder)
    return dict(zip(("read_csv", "detrended"), map(float, told.split()))), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", default="target/release/oma-worker")
    parser.add_argument("--pandas", default="pandas", help="requirements as pip takes them, separated by commas; or none")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(folder)
        file = folder / f"record-{options.gigabytes:g}.csv"
        if not file.exists():
            write(file, int(options.gigabytes * 1e9))
        size = file.stat().st_size
        print(f"{size / 1e9:.2f} GB, {CHANNELS} channels", flush=True)
        peers = [] if options.pandas == "none" else options.pandas.split(",")
        readers = {"worker": (of_worker, options.worker)}
        for peer in peers:
            own = folder / peer.replace("=", "")
            own.mkdir(exist_ok=True)
            readers[peer] = (of_pandas, python_with([peer, "scipy"], own))
        seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(options.rounds):
            for label, (read, program) in readers.items():
                stages, memory = read(program, file, folder)
                told = "  ".join(f"{name} {s:6.2f} s {size / 1e6 / s:6.0f} MB/s" for name, s in stages.items())
                print(f"round {number + 1}  {label}  {told}  {memory:6.0f} MiB", flush=True)
                for stage, seconds in stages.items():
                    seen.setdefault((label, stage), []).append((seconds, memory))
        if peers:
            print(HEAD)
        for peer in peers:
            print(row("text into numbers", seen["worker", "decode"], f"{peer}, C parser", seen[peer, "read_csv"]))
            ours = seen["worker", "ingest"]
            print(row("text into the preprocessed record", ours, f"{peer} and SciPy", seen[peer, "detrended"]))


if __name__ == "__main__":
    main()
