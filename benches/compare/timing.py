"""What the comparisons share: timed processes, peers in an environment of their own, the table."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from statistics import median


def run(command: list[str], folder: Path, **environment: str) -> tuple[str, str, float]:
    """Runs a command; returns its standard output, its standard error and its peak memory by GNU time, MiB."""
    report = folder / "time.txt"
    timed = ["/usr/bin/time", "-f", "%M", "-o", str(report), *command]
    # OpenBLAS of a current numpy is slowed by what some machines set for old builds.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    told = subprocess.run(timed, capture_output=True, text=True, env=inherited | environment)
    if told.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{told.stderr}")
    return told.stdout, told.stderr, int(report.read_text().split()[-1]) / 1024


def worker(program: str, arguments: list[str], folder: Path) -> tuple[dict, float]:
    """Runs `analyze`; returns the result document and the peak memory, MiB."""
    result = folder / "result.json"
    _, _, memory = run([program, "analyze", *arguments, "--output", str(result)], folder)
    return json.loads(result.read_text()), memory


def python_with(packages: list[str], folder: Path) -> str:
    """A Python that has the packages, in a virtual environment that is kept in `folder` and made where it is missing."""
    python = folder / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(python)


def row(work: str, ours: list[tuple[float, float]], peer: str, theirs: list[tuple[float, float]]) -> str:
    """A line of the table: medians of seconds, their ratio, and the largest peaks of memory, MiB."""
    seconds = [median(time for time, _ in runs) for runs in (ours, theirs)]
    memory = [max(peak for _, peak in runs) for runs in (ours, theirs)]
    return (
        f"| {work} | {seconds[0]:.3f} s, {memory[0]:.0f} MiB | {peer} | {seconds[1]:.2f} s, {memory[1]:.0f} MiB "
        f"| {seconds[1] / seconds[0]:.0f} × |"
    )


def where() -> str:
    """Command, machine, day and commit: what a table of times must say."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    here = Path(__file__).parent
    git = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True)
    commit = git.stdout.strip() or "unknown"
    return f"`{' '.join(sys.argv)}`, {os.cpu_count()} × {model}, {date.today()}, commit {commit}\n"


HEAD = "| work | this worker | peer | its time, memory | ratio |\n|---|---|---|---|---|"
