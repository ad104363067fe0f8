#!/usr/bin/env bash
# Everything that a GPU node can tell of the GPU path, on one page: adapters and self-test, parity, benchmarks.
#
#   deploy/gpu-check.sh [ADAPTER] > gpu-check.txt     ADAPTER: part of a name, or a PCI bus id as nvidia-smi shows it
set -uo pipefail
cd "$(dirname "$0")/.."
adapter=${1:-}
if [ -z "$adapter" ]; then
    adapter=$(cargo run --release --locked --quiet -- check --embedded "$(mktemp -d)" 2>/dev/null |
        sed -n 's/^ok    GPU: \(.*\) (.*self-test passed.*/\1/p' | head -1)
fi
[ -n "$adapter" ] || { echo "no GPU passed its self-test; see: oma-worker check" >&2; exit 1; }

echo "== $(date -u +%FT%TZ), $(git rev-parse --short HEAD 2>/dev/null || echo no commit), $(nproc) cores, adapter $adapter"
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,pci.bus_id,memory.total --format=csv
echo "== adapters and self-test"
OMA_GPU_ADAPTER=$adapter cargo run --release --locked --quiet -- check --embedded "$(mktemp -d)" 2>&1 | grep -E 'GPU|CPU'
echo "== parity, faults, traffic"
left_out=$([ -n "${OMA_REAL_DATA:-}" ] || echo ' and not test(/real_data/)')
OMA_TEST_GPU_ADAPTER=$adapter cargo nextest run --locked --no-fail-fast \
    -E "test(/^(parity|pairs|gpu_runs|gpu_worker|shaders)::/)$left_out" 2>&1 | grep -E 'PASS|FAIL|Summary'
echo "== benchmarks"
OMA_GPU_ADAPTER=$adapter cargo bench --locked --bench kernels 2>&1 |
    grep -E '^(GPU|[0-9]+x|cross_spectra|lag_products|leading_pairs|methods|fdd|ssi)|time:|thrpt:'
