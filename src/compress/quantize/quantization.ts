import { type Model, ModelError, type NodeSpec, Tensor } from '../../graph/index.js';
import { defaultsOf } from '../../graph/option-descriptors.js';
import type { Skipped } from '../../graph/skipped.js';
import { withEigenThreads } from '../../linalg/gram-eigen.js';
import type { Matrix } from '../../linalg/matmul.js';
import { removeUnread } from '../../passes/rewrite/weight-source.js';
import type { CompressAccount, CompressedLayer } from '../account.js';
import { inputMoments, rankOf, shapesFor } from '../calibration/calibration.js';
import { divergenceOf } from '../calibration/divergence.js';
import type { Moments } from '../calibration/metric.js';
import { dimsOf, divided, hasLabels, largest, samplesOf } from '../calibration/samples.js';
import { Factorizer } from '../factors/factorizer.js';
import { type Cut, type LayerSize, multiplyAddsOf } from '../factors/forms.js';
import { divergenceBetween, type Trials } from '../factors/trial.js';
import { weightOf } from '../layers/candidate.js';
import { curvatures, opened, sizeOf } from '../layers/candidates.js';
import { findLayers, type Layer } from '../layers/layers.js';
import { COMPRESS_OPTIONS, type CompressOptions } from '../options.js';
import { costValues, siteMultiplyAdds, storedBytes, storedParameters } from '../totals.js';
import { type Rounded, rounded } from './round.js';

type Settings = CompressOptions &
  Required<Pick<CompressOptions, 'samples' | 'seed' | 'bits' | 'branch' | 'block'>> & {
    readonly [Key in 'samples' | 'seed' | 'bits' | 'branch' | 'block']: number;
  };

/** Bytes that nodes and names take in a file besides, about. */
const NODE_BYTES = 900;

/**
 * Rounds the weights of matrix products to a few bits (com.microsoft's MatMulNBits), with what that loses carried by a branch of low
 * rank beside it: x Wqᵀ + (x Bᵀ) Aᵀ, where A B is the best of its rank for W - Wq over the inputs that calibration shows and, where the
 * model has a gradient, by the curvature of the loss at the outputs (LQER, Zhang et al., arXiv 2402.02446, with the whitening in the place
 * of its scales).
 */
export class Quantization {
  readonly #model: Model;
  readonly #settings: Settings;
  readonly #notes: string[] = [];

  constructor(model: Model, options: CompressOptions) {
    this.#model = model;
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#settings = { ...defaultsOf(COMPRESS_OPTIONS), bits: 4, ...given };
  }

  run(): Promise<CompressAccount> {
    return withEigenThreads(() => this.#run());
  }

  async #run(): Promise<CompressAccount> {
    const model = this.#model;
    const { data, dryRun = false } = this.#settings;
    const { layers: all, skipped: others } = findLayers(model, this.#settings);
    const skipped: Skipped[] = [...others];
    const layers = all.filter((layer) => {
      const reason = reasonAgainst(layer, this.#settings);
      if (reason !== undefined) skipped.push({ node: layer.name, op: layer.site.op, reason });
      return reason === undefined;
    });
    if (layers.length === 0)
      throw new ModelError(
        `no layer can be written in ${this.#settings.bits} bits: ${skipped[0]?.reason ?? 'it has no matrix products'}`,
        { file: model.path },
      );
    const samples = await samplesOf(model, data, this.#settings);
    const costs = costValues(model);
    const shapes = await shapesFor(model, costs.values, samples);
    const { fitting, checking } = divided(samples, data !== undefined);
    const divergence =
      data === undefined
        ? undefined
        : divergenceOf(model, {
            output: this.#settings.prediction,
            kind: this.#settings.divergence,
            isLabelled: hasLabels(data),
            dims: await dimsOf(model, samples),
            axis: this.#settings.axis,
            rank: await rankOf(model, this.#settings.prediction, samples),
          });
    const before = { parameters: storedParameters(model), bytes: storedBytes(model) };
    const macs = costs.sites.reduce((sum, site) => sum + siteMultiplyAdds(site, shapes), 0);
    const onProgress = this.#progress;
    const outputs =
      divergence &&
      (await curvatures(model, layers, divergence, {
        shapes,
        fitting,
        onProgress,
        onNote: (text) => this.#notes.push(text),
      }));
    const trials =
      divergence &&
      (await opened(model, layers, checking, divergence, largest(shapes), (text) => this.#notes.push(text)));
    const made: Made[] = [];
    const add = async (layer: Layer, input: Moments | undefined): Promise<void> => {
      onProgress(layer.name, made.length, layers.length);
      made.push(
        await this.#made(layer, sizeOf(layer, shapes), { input, output: outputs?.get(layer) }, trials),
      );
    };
    try {
      if (divergence === undefined) for (const layer of layers) await add(layer, undefined);
      else
        for await (const { layer, moments } of inputMoments(model, layers, shapes, fitting))
          await add(layer, moments);
    } finally {
      await trials?.[Symbol.asyncDispose]();
    }
    const rows = made.map((one) => one.row);
    const predicted = rows.reduce((sum, row) => sum + row.predicted, 0);
    const saved = made.reduce((sum, { layer, bytes }) => sum + 4 * layer.rows * layer.columns - bytes, 0);
    let measured: number | undefined;
    if (!dryRun) {
      const original = model.clone();
      for (const one of made) put(model, one, this.#settings);
      if (divergence !== undefined)
        measured = await divergenceBetween(original, model, checking, divergence, largest(shapes));
    }
    const added = rows.reduce((sum, row) => sum + row.parametersAfter - row.parametersBefore, 0);
    const more = rows.reduce((sum, row) => sum + row.multiplyAddsAfter - row.multiplyAddsBefore, 0);
    return {
      layers: rows,
      skipped,
      total: {
        parametersBefore: before.parameters,
        parametersAfter: before.parameters + added,
        multiplyAddsBefore: macs,
        multiplyAddsAfter: macs + more,
        bytesBefore: before.bytes,
        bytesAfter: dryRun ? before.bytes - saved : storedBytes(model),
        latency: undefined,
      },
      curve: [],
      divergence: divergence?.kind,
      samples: data === undefined ? 0 : samples.indices.length,
      predicted,
      measured,
      plan: [],
      notes: this.#notes,
    };
  }

  async #made(
    layer: Layer,
    size: LayerSize,
    metrics: { readonly input: Moments | undefined; readonly output: Moments | undefined },
    trials: Trials | undefined,
  ): Promise<Made> {
    const { bits, block, branch } = this.#settings;
    const weight = await weightOf(layer);
    const round = await rounded(weight, bits, block);
    const residual = minus(weight, round.values);
    const factorizer = await Factorizer.of(size, residual, { ...metrics, isCentred: false });
    const cut: Cut | undefined = branch > 0 ? { form: 'matrices', ranks: [branch] } : undefined;
    const factors = cut && (await factorizer.factors(cut));
    const product = cut && (await factorizer.product(cut));
    const left = product === undefined ? residual : minus(residual, product);
    const now = minus(weight, left);
    // What it loses is measured; without data it is relative to the weight.
    const error =
      trials === undefined
        ? await (await Factorizer.of(size, weight, { ...metrics, isCentred: false })).errorOf(now)
        : await trials.measure(new Map([[layer, { weight: now }]]));
    const { rows, columns } = layer;
    const extra = cut === undefined ? 0 : branch * (rows + columns);
    const row: CompressedLayer = {
      layer: layer.name,
      op: layer.site.op,
      nodes: [layer.name],
      rows,
      columns,
      form: 'bits',
      ranks: cut?.ranks ?? [],
      rankBefore: Math.min(rows, columns),
      predicted: error,
      parametersBefore: rows * columns,
      parametersAfter: rows * columns + round.scales.length + extra,
      multiplyAddsBefore: multiplyAddsOf(size, undefined),
      multiplyAddsAfter:
        multiplyAddsOf(size, undefined) + (cut === undefined ? 0 : multiplyAddsOf(size, cut)),
      microsecondsBefore: undefined,
      microsecondsAfter: undefined,
      reason: undefined,
      conditioned: undefined,
      spectrum: await factorizer.spectrum(),
    };
    return { layer, round, factors, row, bytes: bytesOf(layer, this.#settings) };
  }

  readonly #progress = (what: string, done = 0, total = 1): void => {
    this.#settings.onProgress?.({ what, done, total });
  };
}

interface Made {
  readonly layer: Layer;
  readonly round: Rounded;
  /** rank x inputs, then outputs x rank. */
  readonly factors: readonly Matrix[] | undefined;
  readonly row: CompressedLayer;
  readonly bytes: number;
}

function minus(a: Matrix, b: Matrix): Matrix {
  return { ...a, data: Float64Array.from(a.data, (value, i) => value - (b.data[i] as number)) };
}

/** Bytes of a layer in a few bits with its branch. */
function bytesOf({ rows, columns }: Layer, { bits, block, branch }: Settings): number {
  const blocks = Math.ceil(columns / block);
  return rows * blocks * ((block * bits) / 8 + 4) + 4 * branch * (rows + columns) + NODE_BYTES;
}

function reasonAgainst(layer: Layer, settings: Settings): string | undefined {
  const { site, sites, rows, columns } = layer;
  const { node, op, weight, weightInput } = site;
  if (op !== 'MatMul' && op !== 'Gemm') return 'onnxruntime has no convolution of weights in a few bits';
  if (sites.length > 1) return 'layers share its weight';
  if (weight.dataType !== 'float32') return `its weight is ${weight.dataType}, not float32`;
  if (weight.shape.length !== 2 || weightInput !== 1)
    return 'its weight is not the second factor, of two axes';
  if (op === 'Gemm') {
    const isPlain =
      node.attributes.float('alpha', 1) === 1 &&
      node.attributes.int('transA', 0) === 0 &&
      ((node.inputs[2] ?? '') === '' || node.attributes.float('beta', 1) === 1);
    if (!isPlain) return 'it scales or transposes what MatMulNBits takes as it is';
  }
  const bytes = bytesOf(layer, settings);
  if (bytes >= 4 * rows * columns)
    return `with its branch it would take ${bytes} bytes, as many as its weight or more`;
  return undefined;
}

/** Puts the nodes in the place of the layer's. */
function put(model: Model, { layer, round, factors }: Made, { bits, block }: Settings): void {
  const { site, rows, columns } = layer;
  const { node } = site;
  const { graph } = model;
  const data = site.data;
  const output = node.outputs[0] ?? '';
  const name = (part: string): string => model.freshName(`${node.label}/${part}`);
  const bias = node.inputs[2] ?? '';
  const tensors = [
    Tensor.of(name('packed'), 'uint8', [rows, round.blocks, (block * bits) / 8], round.packed),
    Tensor.of(name('scales'), 'float32', [rows * round.blocks], round.scales),
  ];
  const sums = [factors, bias === '' ? undefined : bias].filter((one) => one !== undefined).length;
  const named = node.name === '' ? name('bits') : node.name;
  const inserted: NodeSpec[] = [];
  let value = sums === 0 ? output : name('bits/out');
  inserted.push({
    opType: 'MatMulNBits',
    domain: 'com.microsoft',
    name: named,
    inputs: [data, ...tensors.map((tensor) => tensor.name)],
    outputs: [value],
    attributes: {
      K: { int: columns },
      N: { int: rows },
      bits: { int: bits },
      block_size: { int: block },
    },
  });
  if (factors !== undefined) {
    const [b, a] = factors as [Matrix, Matrix];
    const [first, second] = [name('branch/0'), name('branch/1')];
    tensors.push(transposed(first, b), transposed(second, a));
    const [inner, side] = [name('branch/0/out'), name('branch/1/out')];
    inserted.push(
      { opType: 'MatMul', name: name('branch/first'), inputs: [data, first], outputs: [inner] },
      { opType: 'MatMul', name: name('branch/second'), inputs: [inner, second], outputs: [side] },
    );
    const sum = bias === '' ? output : name('sum');
    inserted.push({ opType: 'Add', name: name('branch/add'), inputs: [value, side], outputs: [sum] });
    value = sum;
  }
  if (bias !== '')
    inserted.push({ opType: 'Add', name: name('bias/add'), inputs: [value, bias], outputs: [output] });
  graph.edit({ removeNodes: [node], insertNodes: inserted, setInitializers: tensors });
  removeUnread([site.weight]);
}

function transposed(name: string, { rows, columns, data }: Matrix): Tensor {
  const out = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1) out[j * rows + i] = data[i * columns + j] as number;
  return Tensor.of(name, 'float32', [columns, rows], out);
}
