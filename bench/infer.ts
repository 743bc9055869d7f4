/**
 * Types and shapes that `infer` finds, as JSON lines for bench/python/infer_agreement.py, which holds them against onnx's own
 * shape inference:
 *
 *   npx tsx bench/infer.ts <dir> > ours.jsonl && python3 bench/python/infer_agreement.py <dir> ours.jsonl
 */
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { readModel } from '../src/graph/index.js';
import { infer } from '../src/passes/rewrite/infer.js';

const [directory = '.'] = process.argv.slice(2);
const files = readdirSync(directory, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.onnx'))
  .map((entry) => join(entry.parentPath, entry.name))
  .sort();
for (const file of files) {
  const name = relative(directory, file);
  try {
    using model = await readModel(file);
    model.graph.proto.value_info = [];
    model.graph.touch();
    const [account] = await model.apply(infer());
    const values = [...model.graph.valueInfo, ...model.graph.outputs].map((value) => [
      value.name,
      value.dataType ?? null,
      value.shape?.map((dim) => dim ?? null) ?? null,
    ]);
    console.log(JSON.stringify({ name, values, complete: account.complete, all: account.values }));
  } catch (error) {
    console.log(JSON.stringify({ name, problem: (error as Error).message }));
  }
}
