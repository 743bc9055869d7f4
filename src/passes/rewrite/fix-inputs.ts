import type { Model, Pass } from '../../graph/index.js';
import type { GraphProto } from '../../graph/proto/schema.js';

export interface FixInputsAccount {
  /** Names of what are inputs no more. */
  readonly fixed: readonly string[];
}

/**
 * Makes constants of the initializers that are inputs of the model too. From IR version 4 on a caller may feed another
 * tensor for such an input, so other passes leave nodes that read it alone; exporters list all weights there when they
 * are told to (PyTorch's keep_initializers_as_inputs).
 *
 * @example
 * const [{ fixed }] = await model.apply(fixInputs(), expand({ depth: 3 }));
 */
export function fixInputs(): Pass<FixInputsAccount> {
  return {
    name: 'fix-inputs',
    run: async (model: Model) => {
      const { graph } = model;
      const proto = graph.proto as GraphProto;
      const isFixed = ({ name = '' }): boolean =>
        graph.initializers.has(name) || graph.sparseInitializers.has(name);
      const fixed = (proto.input ?? []).filter(isFixed).map(({ name = '' }) => name);
      // Older models have to list them, and cannot mean anything by it.
      if (model.irVersion < 4 || fixed.length === 0) return { fixed: [] };
      proto.input = (proto.input ?? []).filter((input) => !isFixed(input));
      graph.touch();
      return { fixed };
    },
  };
}
