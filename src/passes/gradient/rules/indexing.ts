import { DATA_TYPES } from '../../../graph/index.js';
import { at, normalAxis, product, range } from '../shapes.js';
import type { Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

/** What was gathered is added up where it came from; an element that was gathered twice gets both. */
function gather({ build, node, inputs, gradients }: RuleContext): Value[] {
  const [x, dy] = [required(inputs, 0), required(gradients, 0)];
  const indices = required(inputs, 1);
  const rank = x.shape.length;
  const axis = normalAxis(node.attributes.int('axis', 0), rank);
  const count = product(indices.shape);
  const outer = x.shape.slice(0, axis);
  const inner = x.shape.slice(axis + 1);
  const rows = build.reshape(dy, [product(outer), count, product(inner)]);
  const front = build.reshape(build.transpose(rows, [1, 0, 2]), [count, product(outer) * product(inner)]);
  // They may be int32, which ScatterND does not take.
  const wide = build.op('Cast', [indices], indices.shape, { to: { int: DATA_TYPES.int64.code } }, 'int64');
  const places = build.reshape(wide, [count, 1]);
  const size = at(x.shape, axis);
  const zeros = build.filled(x.type, [size, product(outer) * product(inner)]);
  const added = build.op('ScatterND', [zeros, places, front], zeros.shape, { reduction: { string: 'add' } });
  const back = build.transpose(build.reshape(added, [size, product(outer), product(inner)]), [1, 0, 2]);
  return [build.reshape(back, x.shape)];
}

function gatherND({ build, node, inputs, gradients }: RuleContext): Value[] {
  const [x, indices, dy] = [required(inputs, 0), required(inputs, 1), required(gradients, 0)];
  const batch = node.attributes.int('batch_dims', 0);
  let places = indices;
  for (const axis of range(0, batch).reverse()) {
    // ScatterND knows no batch: its place is the leading index.
    const lead = places.shape.slice(0, -1);
    const view = lead.map((dim, index) => (index === axis ? dim : 1));
    const counter = build.constant('int64', [...view, 1], range(0, at(lead, axis)));
    places = build.concat([build.expand(counter, [...lead, 1]), { ...places, type: 'int64' }], lead.length);
  }
  const zeros = build.filled(x.type, x.shape);
  return [build.op('ScatterND', [zeros, places, dy], x.shape, { reduction: { string: 'add' } })];
}

function gatherElements({ build, node, inputs, gradients }: RuleContext): Value[] {
  const [x, indices, dy] = [required(inputs, 0), required(inputs, 1), required(gradients, 0)];
  const zeros = build.filled(x.type, x.shape);
  return [
    build.op('ScatterElements', [zeros, indices, dy], x.shape, {
      axis: { int: node.attributes.int('axis', 0) },
      reduction: { string: 'add' },
    }),
  ];
}

/** What was chosen gives its gradient back to where it came from. */
function topK({ build, node, inputs, outputs, gradients }: RuleContext): Value[] {
  const [x, dy] = [required(inputs, 0), required(gradients, 0)];
  const indices: Value = { ...required(outputs, 1), type: 'int64' };
  return [
    build.op('ScatterElements', [build.filled(x.type, x.shape), indices, dy], x.shape, {
      axis: { int: node.attributes.int('axis', -1) },
      // Adds nothing up, but has a gradient itself.
      reduction: { string: 'add' },
    }),
  ];
}

/** Scattering that adds: the data keep their gradient, the updates get it from where they went. */
function scatterND({ build, inputs, gradients, needs }: RuleContext): (Value | undefined)[] {
  const [indices, updates] = [required(inputs, 1), required(inputs, 2)];
  const dy = required(gradients, 0);
  return [dy, undefined, needs(2) ? build.op('GatherND', [dy, indices], updates.shape) : undefined];
}

function scatterElements({ build, node, inputs, gradients, needs }: RuleContext): (Value | undefined)[] {
  const [indices, updates] = [required(inputs, 1), required(inputs, 2)];
  const dy = required(gradients, 0);
  const axis = { int: node.attributes.int('axis', 0) };
  const gathered = (): Value => build.op('GatherElements', [dy, indices], updates.shape, { axis });
  return [dy, undefined, needs(2) ? gathered() : undefined];
}

const refusesUnlessAdding: Rule['refuses'] = (node) =>
  node.attributes.string('reduction', 'none') === 'add' ? undefined : 'only with reduction "add"';

export const INDEXING = {
  Gather: { backward: gather },
  GatherND: { backward: gatherND },
  GatherElements: { backward: gatherElements },
  ScatterND: { through: [0, 2], refuses: refusesUnlessAdding, backward: scatterND },
  ScatterElements: { through: [0, 2], refuses: refusesUnlessAdding, backward: scatterElements },
  TopK: { inert: [1], backward: topK },
} as const satisfies Record<string, Rule>;
