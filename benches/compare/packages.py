#!/usr/bin/env python3
"""The packages people use beside this worker: the same work, turn about, in time and peak memory.

    cargo build --release --workspace --locked
    benches/compare/packages.py [--rounds 3] [--rows NAME,…] [--folder DIR] [--worker target/release/oma-worker]

Peers: pyOMA2 1.4.3, koma 1.3.6 and PyOMA of Weimar (pyoma-toolbox 1.1.0). Records: a shear chain under white forces, 10
minutes at 100 Hz, accelerations with 5 % noise. A peer's time is that of its analysis alone, from samples in memory to the
result, without imports and loading; this worker's is that of the method, from the preprocessed record on disk to the result.
Like is compared with like: every channel a reference, weighting `pc` (driven by data `upc`, the peer's), no standard
deviations, poles at every order; the rows named `default` are this worker's own defaults (weighting `upc`, standard
deviations of every pole, automatic modes, 20 references of 32 channels) beside a peer's uncertainty; in `deviations` every
channel is a reference and 50 blocks give the standard deviations on both sides. Peak memory is that of the whole process. `--folder` keeps records and peers for another time.
"""

import argparse
import json
import tempfile
from pathlib import Path

from timing import HEAD, python_with, row, run, where, worker

PACKAGES = ["numpy", "scipy", "pyOMA_2==1.4.3", "koma-python==1.3.6", "pyoma-toolbox==1.1.0"]

CHAIN = """
import sys
import numpy as np
from scipy.linalg import expm
from scipy.signal import lfilter

n, seconds, fs, out = int(sys.argv[1]), float(sys.argv[2]), 100.0, sys.argv[3]
i = np.arange(1, n + 1)
f = 40.0 * np.sin((2 * i - 1) * np.pi / (4 * n + 2))
phi = np.sin(np.outer(i, 2 * i - 1) * np.pi / (2 * n + 1))
phi /= np.linalg.norm(phi, axis=0)
random = np.random.default_rng(n)
burn, count = 6000, int(seconds * fs)
forces = random.standard_normal((burn + count, n)) @ phi
for m in range(n):
    w, xi = 2 * np.pi * f[m], min(0.005 + 0.0005 * (m + 1), 0.02)
    a = np.array([[0, 1], [-w * w, -2 * xi * w]])
    held = np.zeros((3, 3))
    held[:2, :2], held[1, 2] = a, 1
    step = expm(held / fs)
    a, b, c = step[:2, :2], step[:2, 2], np.array([-w * w, -2 * xi * w])
    trace, det = np.trace(a), np.linalg.det(a)
    forces[:, m] = lfilter([1, c @ b - trace, c @ a @ b - trace * (c @ b) + det], [1, -trace, det], forces[:, m])
y = (forces @ phi.T)[burn:]
y += 0.05 * y.std(axis=0) * random.standard_normal(y.shape)
np.save(out, y.astype(np.float32))
"""

PEERS = {
    "pyOMA2 FDD": """
from pyoma2.setup import SingleSetup
from pyoma2.algorithms import FDD
setup = SingleSetup(y, fs=100)
setup.add_algorithms(FDD(name="a", nxseg=1024))
def work(): setup.run_by_name("a")
""",
    "pyOMA2 SSI": """
from pyoma2.setup import SingleSetup
from pyoma2.algorithms import SSI
setup = SingleSetup(y, fs=100)
setup.add_algorithms(SSI(name="a", br=br, ordmax=order, method=options["method"], step=1, calc_unc="unc" in options))
def work(): setup.run_by_name("a")
""",
    "koma": """
from koma.oma import covssi
def work(): covssi(y, 100, br, np.arange(2, order + 1, 2), weighting="none", showinfo=False, return_flat=True)
""",
    "Weimar": """
from pyOMA.core import PreProcessSignals, BRSSICovRef, VarSSIRef
every = list(range(y.shape[1]))
data = PreProcessSignals(y, 100, ref_channels=every, accel_channels=every)
def work():
    if "unc" in options:
        data.corr_blackman_tukey(2 * br + 1, n_segments=50)
        ssi = VarSSIRef(data)
        ssi.build_subspace_mat(br, num_blocks=50)
        ssi.compute_state_matrices(order)
        ssi.prepare_sensitivities("fast")
        ssi.compute_modal_params(order)
    else:
        data.correlation(2 * br + 1)
        ssi = BRSSICovRef(data)
        ssi.build_toeplitz_cov(br)
        ssi.compute_modal_params(order, modal_contrib=False)
""",
}

AROUND = """
import json, logging, os, sys, time, warnings
os.environ.setdefault("MPLBACKEND", "Agg")
warnings.filterwarnings("ignore")
logging.disable(50)
import numpy as np
y = np.load(sys.argv[1]).astype(float)
options = json.loads(sys.argv[2])
br, order = options.get("br"), options.get("order")
{peer}
start = time.perf_counter()
work()
print("seconds", time.perf_counter() - start)
"""

def ssi(br: int, order: int, method: str = "ssi-cov") -> list[str]:
    return ["--method", method, "--set", f"block_rows={br}", "--set", f"order_max={order}"]


def every(channels: int) -> list[str]:
    return ["--reference-channels", ",".join(f"ch{k + 1}" for k in range(channels))]


def alike(channels: int, br: int, order: int, method: str = "ssi-cov") -> list[str]:
    weighting = "upc" if method == "ssi-dat" else "pc"
    like = ["--set", f"weighting={weighting}", "--set", "uncertainty=false"]
    return ssi(br, order, method) + like + every(channels)


def deviations(channels: int, br: int, order: int) -> list[str]:
    return ssi(br, order) + ["--set", "weighting=pc", "--set", "blocks=50"] + every(channels)


FDD = ["--method", "fdd", "--set", "segment_length=1024"]

# Name, channels, this worker's arguments, peer, its options.
ROWS = [
    ("fdd-32", 32, FDD, "pyOMA2 FDD", {}),
    ("fdd-100", 100, FDD, "pyOMA2 FDD", {}),
    ("ssi-8-koma", 8, alike(8, 30, 60), "koma", {"br": 30, "order": 60}),
    ("ssi-8-pyoma2", 8, alike(8, 30, 60), "pyOMA2 SSI", {"br": 30, "order": 60, "method": "cov"}),
    ("ssi-32-weimar", 32, alike(32, 30, 60), "Weimar", {"br": 30, "order": 60}),
    ("ssi-32-pyoma2", 32, alike(32, 30, 60), "pyOMA2 SSI", {"br": 30, "order": 60, "method": "cov"}),
    ("ssi-32-koma", 32, alike(32, 30, 60), "koma", {"br": 30, "order": 60}),
    ("ssi-100", 100, alike(100, 20, 100), "pyOMA2 SSI", {"br": 20, "order": 100, "method": "cov_R"}),
    ("dat-32", 32, alike(32, 30, 60, "ssi-dat"), "pyOMA2 SSI", {"br": 30, "order": 60, "method": "dat"}),
    ("default-8-pyoma2", 8, ssi(30, 30), "pyOMA2 SSI", {"br": 30, "order": 30, "method": "cov", "unc": True}),
    ("default-32-weimar", 32, ssi(30, 60), "Weimar", {"br": 30, "order": 60, "unc": True}),
    ("deviations-32-weimar", 32, deviations(32, 30, 60), "Weimar", {"br": 30, "order": 60, "unc": True}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", help="only these: " + ", ".join(name for name, *_ in ROWS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--worker", default="target/release/oma-worker")
    options = parser.parse_args()
    chosen = options.rows.split(",") if options.rows else [name for name, *_ in ROWS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        python = python_with(PACKAGES, folder)
        print(where())
        print(HEAD, flush=True)
        for name, channels, arguments, peer, settings in ROWS:
            if name not in chosen:
                continue
            record = folder / f"chain{channels}.npy"
            if not record.exists():
                run([python, "-c", CHAIN, str(channels), "600", str(record)], folder)
            code = AROUND.format(peer=PEERS[peer])
            ours, theirs = [], []
            for _ in range(options.rounds):
                result, memory = worker(options.worker, [str(record), "--fs", "100", *arguments], folder)
                seconds = result["provenance"]["seconds"]
                ours.append((seconds[result["method"]], memory))
                told, _, memory = run([python, "-c", code, str(record), json.dumps(settings)], folder)
                theirs.append((float(told.split("seconds")[-1]), memory))
            print(row(name, ours, peer, theirs), flush=True)


if __name__ == "__main__":
    main()
