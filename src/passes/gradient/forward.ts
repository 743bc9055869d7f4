import { makeNode, type Node } from '../../graph/index.js';
import type { NodeProto } from '../../graph/proto/schema.js';
import type { Activity } from './activity.js';
import type { Builder } from './builder.js';
import { elementwise } from './builder.js';
import { broadcastShapes } from './shapes.js';
import type { Mode, Rewritten } from './types.js';
import type { Value } from './value.js';
import type { Values } from './values.js';

interface ForwardInput {
  readonly nodes: readonly Node[];
  readonly activity: Activity;
  readonly build: Builder;
  readonly mode: Mode;
  readonly values: Values;
  numbers(name: string): readonly number[] | undefined;
}

export interface Forward {
  readonly protos: readonly NodeProto[];
  readonly rewritten: ReadonlyMap<Node, Rewritten>;
  readonly state: readonly (readonly [old: string, next: Value])[];
}

/** The forward nodes, those anew that training computes in another way or that keep more for the backward part. */
export function rewriteForward({ nodes, activity, build, mode, values, numbers }: ForwardInput): Forward {
  const rules = new Map(activity.nodes.map(({ node, rule }) => [node, rule]));
  const rewritten = new Map<Node, Rewritten>();
  const valuesOf = (names: readonly string[]) =>
    names.map((name) => (name === '' ? undefined : values.of(name)));
  const protos = nodes.flatMap((node) => {
    const rule = rules.get(node);
    if (rule === undefined) return [node.proto];
    build.scope = node.label;
    if (rule.forward === undefined) {
      if (!rule.inBlocks) return [node.proto];
      const made = inBlocks(build, node, valuesOf(node.inputs));
      return made === undefined ? [node.proto] : build.nodes.splice(0).map(makeNode);
    }
    const result = rule.forward({
      node,
      build,
      mode,
      inputs: valuesOf(node.inputs),
      outputs: valuesOf(node.outputs),
      varies: (index) => activity.dependent.has(node.inputs[index] ?? ''),
      numbers: (index) => numbers(node.inputs[index] ?? ''),
    });
    if (result === undefined) return [node.proto];
    rewritten.set(node, result);
    return build.nodes.splice(0).map(makeNode);
  });
  return { protos, rewritten, state: [...rewritten.values()].flatMap(({ state }) => state ?? []) };
}

/** A node computed from channels in blocks, under the name that it had. */
function inBlocks(build: Builder, node: Node, inputs: readonly (Value | undefined)[]): Value | undefined {
  const operands = inputs.filter((input) => input !== undefined);
  if (operands.length < inputs.length) return undefined;
  const compute = (values: readonly Value[]): Value => {
    const made = build.op(node.opType, values, broadcastShapes(...values.map(({ shape }) => shape)));
    const spec = build.nodes.pop();
    if (spec !== undefined) build.nodes.push({ ...spec, attributeProtos: node.proto.attribute ?? [] });
    return made;
  };
  return elementwise(build, operands, compute, node.outputs[0]);
}
