import { ModelError, type Node } from '../../../graph/index.js';
import type { Builder } from '../builder.js';
import { at } from '../shapes.js';
import type { Value } from '../value.js';

/** [batch, hidden] each; undefined for zeros. */
export interface State {
  readonly hidden: Value | undefined;
  readonly cell?: Value | undefined;
}

export type Activation = (build: Builder, x: Value) => Value;

interface Setting {
  readonly build: Builder;
  readonly hidden: number;
  /** [gates * hidden, hidden] */
  readonly recurrent: Value;
  /** What is added to the product with the state, where that is not one with the inputs' bias. */
  readonly stateBias: Value | undefined;
  /** Bound of what goes into the activations. */
  readonly clip: number | undefined;
  readonly activations: readonly Activation[];
  /** LSTM: those of the input, output and forget gates, [hidden] each. */
  readonly peepholes: readonly Value[] | undefined;
  /** GRU: the reset gate comes after the product with the state. */
  readonly isResetAfter: boolean;
  /** LSTM: the forget gate is 1 minus the input gate. */
  readonly isCoupled: boolean;
}

/** @param projected the step's inputs times their weights, with the bias: [batch, gates * hidden] */
type Step = (projected: Value, state: State) => State & { readonly hidden: Value };

export interface Cell {
  readonly gates: number;
  /** The operator's defaults. */
  readonly activations: readonly string[];
  /** Both biases, as far as they may be added up beforehand, and the rest of the second. */
  biases(
    build: Builder,
    input: Value | undefined,
    state: Value | undefined,
    hidden: number,
  ): { readonly input: Value | undefined; readonly state?: Value | undefined };
  step(setting: Setting): Step;
}

const summed: Cell['biases'] = (build, input, state) => ({
  input: input && state && build.add(input, state),
});

/** The recurrent operators of the standard: their equations are those of the operators' definitions. */
export const CELLS = {
  RNN: {
    gates: 1,
    activations: ['Tanh'],
    biases: summed,
    step: (setting) => {
      const { activations } = setting;
      return (projected, { hidden }) => ({
        hidden: activated(setting, at(activations, 0), joined(setting, projected, hidden)),
      });
    },
  },

  GRU: {
    gates: 3,
    activations: ['Sigmoid', 'Tanh'],
    // The candidate's own bias of the state stands inside the reset gate's product, if that comes afterwards.
    biases: (build, input, state, hidden) => {
      if (input === undefined || state === undefined) return { input: undefined };
      const [gates, candidate] = cut(build, state, [2 * hidden, hidden], 0);
      const zeros = build.filled(input.type, [hidden]);
      return { input: build.add(input, build.concat([gates, zeros], 0)), state: candidate };
    },
    step: (setting) => {
      const { build, hidden: size, recurrent, stateBias, isResetAfter } = setting;
      const [f, g] = [at(setting.activations, 0), at(setting.activations, 1)];
      const [gateRows, candidateRows] = cut(build, recurrent, [2 * size, size], 0);
      const ofState = (state: Value | undefined, added?: Value): Value | undefined =>
        state === undefined
          ? added
          : build.addedGemm(state, candidateRows, false, true, added ? { c: added } : {});
      return (projected, { hidden }) => {
        const [inGates, inCandidate] = cut(build, projected, [2 * size, size], 1);
        const gates = activated(setting, f, joined({ ...setting, recurrent: gateRows }, inGates, hidden));
        const [update, reset] = cut(build, gates, [size, size], 1);
        const inner = isResetAfter
          ? plus(build, inCandidate, times(build, reset, ofState(hidden, stateBias)))
          : plus(build, ofState(times(build, reset, hidden), inCandidate) ?? inCandidate, stateBias);
        const candidate = activated(setting, g, inner);
        const fresh = build.mul(build.minus(1, update), candidate);
        return { hidden: plus(build, fresh, times(build, update, hidden)) };
      };
    },
  },

  LSTM: {
    gates: 4,
    activations: ['Sigmoid', 'Tanh', 'Tanh'],
    biases: summed,
    step: (setting) => {
      const { build, hidden: size, peepholes, isCoupled } = setting;
      const [f, g, h] = [at(setting.activations, 0), at(setting.activations, 1), at(setting.activations, 2)];
      const [peepInput, peepOutput, peepForget] = peepholes ?? [];
      const gate = (x: Value): Value => activated(setting, f, x);
      return (projected, state) => {
        const all = joined(setting, projected, state.hidden);
        let input: Value;
        let output: Value;
        let forget: Value;
        let inner: Value;
        if (peepholes === undefined) {
          const [gates, rest] = cut(build, all, [3 * size, size], 1);
          [input, output, forget] = cut(build, gate(gates), [size, size, size], 1);
          inner = rest;
        } else {
          [input, output, forget, inner] = cut(build, all, [size, size, size, size], 1);
          input = gate(plus(build, input, times(build, peepInput, state.cell)));
          forget = gate(plus(build, forget, times(build, peepForget, state.cell)));
        }
        const kept = isCoupled ? build.minus(1, input) : forget;
        const fresh = build.mul(input, activated(setting, g, inner));
        const cell = plus(build, fresh, times(build, kept, state.cell));
        const open =
          peepholes === undefined ? output : gate(plus(build, output, times(build, peepOutput, cell)));
        return { hidden: build.mul(open, h(build, cell)), cell };
      };
    },
  },
} as const satisfies Readonly<Record<string, Cell>>;
export type RecurrentOp = keyof typeof CELLS;

function joined({ build, recurrent }: Setting, projected: Value, hidden: Value | undefined): Value {
  return hidden === undefined ? projected : build.addedGemm(hidden, recurrent, false, true, { c: projected });
}

function activated({ build, clip }: Setting, activation: Activation, x: Value): Value {
  if (clip === undefined) return activation(build, x);
  const bounds = [-clip, clip].map((bound) => build.scalar(x.type, bound));
  return activation(build, build.op('Clip', [x, ...bounds], x.shape));
}

function plus(build: Builder, a: Value, b: Value | undefined): Value {
  return b === undefined ? a : build.add(a, b);
}

function times(build: Builder, a: Value | undefined, b: Value | undefined): Value | undefined {
  return a && b && build.mul(a, b);
}

/** A value cut into parts of these sizes along an axis. */
export function cut<const S extends readonly number[]>(
  build: Builder,
  value: Value,
  sizes: S,
  axis: number,
): { [K in keyof S]: Value } {
  const shapes = sizes.map((size) => ({
    shape: value.shape.map((dim, index) => (index === axis ? size : dim)),
  }));
  const parts =
    sizes.length === 1
      ? [value]
      : build.multi('Split', [value, build.ints(sizes)], shapes, { axis: { int: axis } });
  return parts as { [K in keyof S]: Value };
}

/** Activations, with the numbers that they take and those numbers' defaults. */
const ACTIVATIONS: Readonly<
  Record<
    string,
    {
      readonly numbers?: Readonly<{ alpha?: number; beta?: number }>;
      apply(build: Builder, x: Value, numbers: Readonly<Record<string, number>>): Value;
    }
  >
> = {
  Affine: {
    numbers: { alpha: 1, beta: 0 },
    apply: (build, x, { alpha = 1, beta = 0 }) => build.shift(build.scale(x, alpha), beta),
  },
  Elu: operator('Elu', { alpha: 1 }),
  HardSigmoid: operator('HardSigmoid', { alpha: 0.2, beta: 0.5 }),
  LeakyRelu: operator('LeakyRelu', { alpha: 0.01 }),
  Relu: operator('Relu'),
  ScaledTanh: {
    numbers: { alpha: 1, beta: 1 },
    apply: (build, x, { alpha = 1, beta = 1 }) =>
      build.scale(build.unary('Tanh', build.scale(x, beta)), alpha),
  },
  Sigmoid: operator('Sigmoid'),
  Softplus: operator('Softplus'),
  Softsign: operator('Softsign'),
  Tanh: operator('Tanh'),
  ThresholdedRelu: operator('ThresholdedRelu', { alpha: 1 }),
};

function operator(
  opType: string,
  numbers: { readonly alpha?: number; readonly beta?: number } = {},
): (typeof ACTIVATIONS)[string] {
  return {
    numbers,
    apply: (build, x, given) =>
      build.unary(
        opType,
        x,
        Object.fromEntries(Object.entries(given).map(([name, float]) => [name, { float }])),
      ),
  };
}

/**
 * The activations of a node: its own list or the defaults in each direction. Numbers are handed out in the order of the
 * activations that take some.
 */
export function activationsOf(node: Node, count: number, defaults: readonly string[]): Activation[] {
  const own = node.attributes.strings('activations') ?? [];
  const names = Array.from({ length: count }, (_, i) => own[i] ?? at(defaults, i % defaults.length));
  const lists = {
    alpha: [...(node.attributes.floats('activation_alpha') ?? [])],
    beta: [...(node.attributes.floats('activation_beta') ?? [])],
  };
  return names.map((name) => {
    const known = Object.keys(ACTIVATIONS).find((one) => one.toLowerCase() === name.toLowerCase());
    const activation = ACTIVATIONS[known ?? ''];
    if (activation === undefined) {
      throw new ModelError(`the activation '${name}' has no gradient here`, { node: node.label });
    }
    const numbers = Object.fromEntries(
      Object.entries(activation.numbers ?? {}).map(([key, usual]) => [
        key,
        lists[key as 'alpha' | 'beta'].shift() ?? usual,
      ]),
    );
    return (build, x) => activation.apply(build, x, numbers);
  });
}
