import type { Model } from '../graph/index.js';
import type { Checkpoint } from './checkpoint.js';
import type { Settled } from './plan.js';

/** Settings whose names are not words, or whose values are no numbers to read. */
const TOLD: Readonly<Record<string, (saved: Checkpoint, settled: Settled, model: Model) => string>> = {
  model: (saved, _, model) => `the model is another: ${modelDifference(saved, model)}`,
  weights: (saved, settled) => `other weights are trained: ${weightDifference(saved, settled)}`,
  samples: ({ settings }, { plan }) => `the data had ${settings.samples} samples and has ${plan.samples}`,
  validation: ({ settings }, { plan }) =>
    `it was validated on ${settings.validation} samples and would be on ${plan.validationSamples}`,
};

/** What a training must have as a checkpoint has it, and has not; undefined where it can go on. */
export function differenceFrom(saved: Checkpoint, settled: Settled, model: Model): string | undefined {
  const { fingerprint } = settled;
  // What the model is comes first: the rest may follow from it.
  const names = new Set(['model', 'weights', ...Object.keys(saved.settings), ...Object.keys(fingerprint)]);
  for (const name of names) {
    const [before, now] = [saved.settings, fingerprint].map((from) =>
      Object.hasOwn(from, name) ? (JSON.stringify(from[name]) ?? 'none') : 'none',
    );
    if (before === now) continue;
    const told = Object.hasOwn(TOLD, name) ? TOLD[name] : undefined;
    return told?.(saved, settled, model) ?? `${name} was ${before} and is ${now}`;
  }
  return undefined;
}

function modelDifference({ state }: Checkpoint, { graph }: Model): string {
  for (const [name, { type, shape }] of state.weights) {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined) return `the checkpoint has the weight '${name}', and it has none of that name`;
    // Weights of half precision are trained in float32.
    const isMaster = type === 'float32' && (tensor.dataType === 'float16' || tensor.dataType === 'bfloat16');
    const [before, now] = [
      `${isMaster ? tensor.dataType : type}[${shape.join(', ')}]`,
      `${tensor.dataType}[${tensor.shape.join(', ')}]`,
    ];
    if (before !== now) return `the weight '${name}' was ${before} and is ${now}`;
  }
  return 'its weights have the same names and shapes, but nodes, attributes, inputs or constants differ';
}

function weightDifference({ state }: Checkpoint, { plan }: Settled): string {
  const added = plan.weights.filter(({ name }) => !state.weights.has(name)).map(({ name }) => name);
  const dropped = plan.frozen.filter((name) => state.weights.has(name));
  const list = (names: readonly string[]): string =>
    `'${names[0]}'${names.length > 1 ? ` and ${names.length - 1} more` : ''}`;
  const parts = [
    ...(added.length > 0 ? [`${list(added)} not before`] : []),
    ...(dropped.length > 0 ? [`${list(dropped)} no longer`] : []),
  ];
  return parts.length > 0 ? parts.join('; ') : 'in another order';
}
