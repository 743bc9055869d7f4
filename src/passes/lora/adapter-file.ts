import { statSync } from 'node:fs';
import { join } from 'node:path';
import { assertWritable, atomicWrite, MemorySource, ModelError, makeFolder } from '../../graph/index.js';
import type { Matrix } from '../../linalg/index.js';
import { onnxAdapter } from '../../runtime/checkpoint/write-onnx-adapter.js';
import { type RuntimeTensor, safetensors } from '../../runtime/index.js';

/** The factors of one module's adapter: its weight, out x in, changes by scale * b a. */
export interface LoraFactors {
  readonly module: string;
  /** rank x in. */
  readonly a: Matrix;
  /** out x rank. */
  readonly b: Matrix;
  /** 1 where the factors hold it. */
  readonly scale: number;
  /** Of a convolution the extents of its kernel, which is in a: rank x (in * kernel). */
  readonly kernel?: readonly number[];
}

/** Options of writeAdapter. */
export interface AdapterFileOptions {
  /** What base_model_name_or_path says. */
  readonly base?: string | undefined;
  /** Whether the base model's weights are in x out (GPT-2). */
  readonly fanInFanOut?: boolean | undefined;
  readonly overwrite?: boolean | undefined;
}

const TENSORS = 'adapter_model.safetensors';
const CONFIG = 'adapter_config.json';

/** The files that writing an adapter to a path makes. */
export function adapterFiles(path: string): string[] {
  return isOnnxAdapter(path) ? [path] : [join(path, TENSORS), join(path, CONFIG)];
}

export function isOnnxAdapter(path: string): boolean {
  return path.endsWith('.onnx_adapter');
}

/** Throws ModelError where an adapter cannot be written to a path, before the work. */
export async function assertAdapterWritable(path: string, { overwrite }: AdapterFileOptions): Promise<void> {
  if (!isOnnxAdapter(path) && statSync(path, { throwIfNoEntry: false })?.isFile() === true) {
    throw new ModelError('is a file; an adapter is a folder, or a file that ends in .onnx_adapter', {
      file: path,
    });
  }
  if (!isOnnxAdapter(path) && statSync(path, { throwIfNoEntry: false }) === undefined) return;
  for (const file of adapterFiles(path)) await assertWritable(file, { overwrite });
}

/**
 * Writes adapters as PEFT does, a folder with adapter_model.safetensors and adapter_config.json, or, where the path ends in .onnx_adapter, as
 * onnxruntime takes them: a in x rank, b rank x out, scale included. Ranks may differ between modules; each file is replaced in one step.
 *
 * @throws ModelError where a file exists (without overwrite) or cannot be written
 * @example
 * const { adapters } = await extractLora(await readModel('base.onnx'), await readModel('tuned.onnx'));
 * await writeAdapter('adapter', adapters, { base: 'organization/base' });
 */
export async function writeAdapter(
  path: string,
  adapters: readonly LoraFactors[],
  options: AdapterFileOptions = {},
): Promise<void> {
  if (isOnnxAdapter(path)) {
    const tensors = new Map<string, RuntimeTensor>();
    for (const { module, a, b, scale } of adapters) {
      tensors.set(`${module}.lora_A.weight`, tensorOf(transposed(a)));
      tensors.set(`${module}.lora_B.weight`, tensorOf(transposed(b), scale));
    }
    await atomicWrite(path, new MemorySource(onnxAdapter(tensors)), options);
    return;
  }
  const tensors = new Map<string, RuntimeTensor>();
  for (const { module, a, b, kernel = [] } of adapters) {
    const inputs = a.columns / kernel.reduce((taps, extent) => taps * extent, 1);
    const ones = kernel.map(() => 1);
    const name = `base_model.model.${module}`;
    tensors.set(`${name}.lora_A.weight`, { ...tensorOf(a), shape: [a.rows, inputs, ...kernel] });
    tensors.set(`${name}.lora_B.weight`, { ...tensorOf(b), shape: [b.rows, b.columns, ...ones] });
  }
  makeFolder(path, 'an adapter');
  await atomicWrite(join(path, TENSORS), safetensors(tensors, { format: 'pt' }), options);
  const config = Buffer.from(`${JSON.stringify(configOf(adapters, options), undefined, 2)}\n`);
  await atomicWrite(join(path, CONFIG), new MemorySource(config), options);
}

function configOf(
  adapters: readonly LoraFactors[],
  { base, fanInFanOut = false }: AdapterFileOptions,
): Record<string, unknown> {
  const r = Math.max(1, ...adapters.map(({ a }) => a.rows));
  const scale = adapters[0]?.scale ?? 1;
  // Where ranks or scales differ, each module says its own.
  const others = adapters.filter((one) => one.a.rows !== r || one.scale !== scale);
  return {
    peft_type: 'LORA',
    task_type: null,
    base_model_name_or_path: base ?? null,
    r,
    lora_alpha: r * scale,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: fanInFanOut,
    inference_mode: true,
    target_modules: adapters.map(({ module }) => module),
    rank_pattern: Object.fromEntries(others.map(({ module, a }) => [module, a.rows])),
    alpha_pattern: Object.fromEntries(others.map((one) => [one.module, one.a.rows * one.scale])),
  };
}

function tensorOf({ rows, columns, data }: Matrix, scale = 1): RuntimeTensor {
  const values = scale === 1 ? Float32Array.from(data) : Float32Array.from(data, (value) => value * scale);
  return { type: 'float32', shape: [rows, columns], data: values };
}

function transposed({ rows, columns, data }: Matrix): Matrix {
  const turned = new Float32Array(data.length);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1) turned[j * rows + i] = data[i * columns + j] as number;
  return { rows: columns, columns: rows, data: turned };
}
