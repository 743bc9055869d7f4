import { type Graph, isFloatType, ModelError, type Node } from '../../graph/index.js';
import { toNumbers } from '../../graph/proto/codec.js';
import type { Builder } from './builder.js';
import { ruleOf } from './rules/index.js';
import type { Value } from './value.js';

/** Types and shapes of the forward graph's values. Types follow from those of `wrt`: only Cast changes them. */
export class Values {
  readonly #graph: Graph;
  readonly #shapes: ReadonlyMap<string, readonly number[]>;
  readonly #build: Builder;
  readonly #types: Map<string, Value['type']>;

  constructor(
    graph: Graph,
    shapes: ReadonlyMap<string, readonly number[]>,
    build: Builder,
    types: ReadonlyMap<string, Value['type']>,
  ) {
    this.#graph = graph;
    this.#shapes = shapes;
    this.#build = build;
    this.#types = new Map(types);
    for (const [name, tensor] of graph.initializers) this.#types.set(name, tensor.dataType);
    for (const { name, dataType } of graph.inputs)
      if (dataType !== undefined) this.#types.set(name, dataType);
  }

  /** Learns the types of an active node's values. */
  follow(node: Node): void {
    const rule = ruleOf(node);
    if (rule === 'stops' || 'reason' in rule) return;
    const places =
      rule.through === undefined || rule.through === 'all' ? [...node.inputs.keys()] : rule.through;
    const names = places.map((index) => node.inputs[index] ?? '');
    const type = names
      .map((name) => this.#types.get(name))
      .find((known) => known !== undefined && isFloatType(known));
    if (type === undefined) return;
    for (const name of names) if (name !== '' && !this.#types.has(name)) this.#types.set(name, type);
    const cast = node.is('Cast') ? node.attributes.int('to', 1) : undefined;
    const made =
      cast === undefined
        ? type
        : cast === 11
          ? 'float64'
          : cast === 10
            ? 'float16'
            : cast === 16
              ? 'bfloat16'
              : 'float32';
    const like = node.is('CastLike') ? this.#types.get(node.inputs[1] ?? '') : undefined;
    for (const output of node.outputs) if (output !== '') this.#types.set(output, like ?? made);
  }

  of(name: string): Value {
    const known = this.#build.values.get(name);
    if (known !== undefined) return known;
    const shape = this.#shapes.get(name) ?? this.#graph.initializers.get(name)?.shape;
    if (shape === undefined)
      throw new ModelError(`the shape of '${name}' was not found`, { file: this.#graph.model.path });
    return { name, type: this.#types.get(name) ?? 'float32', shape };
  }
}

/** The numbers of a constant that the loss was given. */
export function smallConstant(build: Builder, name: string): readonly number[] | undefined {
  const tensor = build.constants.find((candidate) => candidate.name === name);
  return tensor && toNumbers(tensor.array());
}
