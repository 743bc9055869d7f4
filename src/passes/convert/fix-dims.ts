import { type Model, type Pass, ValueInfo } from '../../graph/index.js';
import { checkDims, fedInputs, type OpenDims, sizeIn } from '../../runtime/index.js';

/** What fixDims returns. */
export interface FixDimsAccount {
  /** From the names of dimensions, and their places, to their sizes. */
  readonly fixed: OpenDims;
}

/**
 * Gives open dimensions of inputs a size, and every value that names the same dimension.
 *
 * @param dims sizes by name, or by place: `{ batch: 4 }`, `{ 'x[0]': 4 }`
 * @throws ModelError (when it runs) for a name or place that no open dimension of an input has
 * @example
 * await model.apply(fixDims({ batch: 1, sequence: 128 }));
 */
export function fixDims(dims: OpenDims): Pass<FixDimsAccount> {
  return {
    name: 'fix-dims',
    inPlace: true,
    run: async (model: Model) => {
      const { graph } = model;
      const inputs = fedInputs(graph);
      checkDims(model, inputs, dims);
      // A place with a name gives the name its size, wherever it stands.
      const named = new Map(Object.entries(dims));
      for (const input of inputs)
        for (const [axis, dim] of (input.shape ?? []).entries()) {
          const size = typeof dim === 'number' ? undefined : sizeIn(dims, input, axis);
          if (size !== undefined && typeof dim === 'string') named.set(dim, size);
        }
      const isInput = new Set(inputs.map(({ name }) => name));
      const fix = (value: ValueInfo): ValueInfo => {
        const { shape, dataType, kind } = value;
        if (shape === undefined || dataType === undefined || kind !== 'tensor') return value;
        const sizes = shape.map((dim, axis) => {
          if (typeof dim === 'number') return dim;
          const own = isInput.has(value.name) ? sizeIn(dims, value, axis) : undefined;
          return own ?? (dim === undefined ? dim : (named.get(dim) ?? dim));
        });
        return sizes.join() === shape.join() ? value : ValueInfo.tensor(value.name, dataType, sizes);
      };
      const { proto } = graph;
      if ('initializer' in proto || graph.kind === 'graph') {
        const lists = proto as { input?: unknown; output?: unknown };
        lists.input = graph.inputs.map((value) => fix(value).proto);
        lists.output = graph.outputs.map((value) => fix(value).proto);
      }
      proto.value_info = graph.valueInfo.map((value) => fix(value).proto);
      graph.touch();
      return { fixed: dims };
    },
  };
}
