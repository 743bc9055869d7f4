#!/usr/bin/env bash
# All GPU checks in one go: CUDA where its provider works, WebGPU otherwise. Writes the figures to a JSON file.
#
#   bench/gpu.sh [-o gpu.json] [-d device] [model.onnx ...]
#
# Without models it takes fixtures/shapes.onnx, expands and collapses it. Of each further model it does the same, where
# there is something to expand. Needs a build (npm run build). EP=webgpu bench/gpu.sh picks the provider.
set -euo pipefail
cd "$(dirname "$0")/.."

out=gpu.json
device=()
while getopts 'o:d:' flag; do
  case $flag in
    o) out=$OPTARG ;;
    d) device=(--device "$OPTARG") ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
models=("${@:-fixtures/shapes.onnx}")

cli() { node dist/bin/onnx-overparam.js "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() { printf '\n== %s\n' "$*" >&2; }

step 'which providers work here'
cli doctor --format json >"$work/doctor.json" || true
cli doctor >&2 || true
ep=${EP:-}
if [ -z "$ep" ]; then
  ep=$(node -e '
    const { providers } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    console.log(["cuda", "webgpu"].find((name) => providers.some((p) => p.provider === name && p.loads)) ?? "");
  ' "$work/doctor.json")
fi
if [ -z "$ep" ]; then
  echo 'error: neither CUDA nor WebGPU works here; see above, and docs/gpu.md' >&2
  exit 1
fi
[ "$ep" = webgpu ] && device=()

failed=0
number=0
for model in "${models[@]}"; do
  number=$((number + 1))
  name=$(basename "$model" .onnx)
  expanded="$work/$name-expanded.onnx"
  collapsed="$work/$name-collapsed.onnx"
  step "$name: expand, collapse"
  cli expand "$model" -o "$expanded" --depth 2 --quiet
  cli collapse "$expanded" -o "$collapsed" --quiet
  step "$name on $ep: who runs which node"
  cli run "$model" --random --ep "$ep" "${device[@]}" --format json >"$work/$number.run.json" || failed=1
  step "$name on $ep against the CPU; expanded and collapsed against the original, all on $ep"
  cli verify "$model" "$model" --ep "$ep" "${device[@]}" --reference-ep cpu --tolerance 1e-2 --samples 1 \
    --format json >"$work/$number.cpu.json" || failed=1
  cli verify "$model" "$expanded" --ep "$ep" "${device[@]}" --tolerance 1e-2 --samples 1 \
    --format json >"$work/$number.expanded.json" || failed=1
  cli verify "$model" "$collapsed" --ep "$ep" "${device[@]}" --tolerance 1e-2 --samples 1 \
    --format json >"$work/$number.collapsed.json" || failed=1
  if [ "$ep" = webgpu ]; then
    step "$name on webgpu: inputs and outputs stay on the device"
    cli run "$model" "$expanded" "$collapsed" --bench --ep webgpu --bind --runs "${RUNS:-30}" \
      --format json >"$work/$number.bound.json" || failed=1
  else
    # Products of factors in float64 on the card, and the same model all the same.
    step "$name: collapse with products on $ep"
    cli collapse "$expanded" -o "$work/$name-on-$ep.onnx" --ep "$ep" "${device[@]}" --quiet || failed=1
    cli verify "$model" "$work/$name-on-$ep.onnx" --samples 1 --format json >"$work/$number.products.json" || failed=1
  fi
  step "$name: original, expanded, collapsed; CPU and $ep"
  cli run "$model" "$expanded" "$collapsed" --bench --ep cpu --ep "$ep" "${device[@]}" --runs "${RUNS:-30}" \
    --format json >"$work/$number.bench.json" || failed=1
done

# In Node, for jq is not everywhere.
node -e '
  const { existsSync, readFileSync, statSync, writeFileSync } = require("fs");
  const [work, out, provider, ...models] = process.argv.slice(1);
  const read = (name) => {
    const path = `${work}/${name}.json`;
    return existsSync(path) && statSync(path).size > 0 ? JSON.parse(readFileSync(path, "utf8")) : null;
  };
  const results = models.map((model, index) => ({
    model,
    run: read(`${index + 1}.run`),
    againstCpu: read(`${index + 1}.cpu`),
    expanded: read(`${index + 1}.expanded`),
    collapsed: read(`${index + 1}.collapsed`),
    bench: read(`${index + 1}.bench`),
    bound: read(`${index + 1}.bound`),
    products: read(`${index + 1}.products`),
  }));
  const body = { date: new Date().toISOString(), provider, doctor: read("doctor"), results };
  writeFileSync(out, `${JSON.stringify(body, undefined, 2)}\n`);
  const round = (value) => Number(value.toPrecision(3));
  for (const { model, run, againstCpu, expanded, collapsed, bench } of results) {
    const nodes = run === null ? "failed" : run.uses.map((use) => `${use.provider} ${use.nodes}`).join(", ");
    const same = (side) => (side === null ? "failed" : side.passed ? "same" : "DIFFERS");
    console.log(`\n${model}: nodes ${nodes}; against the CPU ${same(againstCpu)}, expanded ${same(expanded)}, collapsed ${same(collapsed)}`);
    for (const row of bench?.rows ?? []) {
      console.log(`  ${row.model} on ${row.provider}: p50 ${round(row.p50)} ms, ratio ${round(row.ratio)}`);
    }
  }
  console.log(`\nWritten to ${out}`);
' "$work" "$out" "$ep" "${models[@]}"
exit "$failed"
