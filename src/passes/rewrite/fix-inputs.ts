import type { Model, Pass } from '../../graph/index.js';

/** What fixInputs returns. */
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
    inPlace: true,
    run: async (model: Model) => {
      const { graph } = model;
      // Older models have to list them, and cannot mean anything by it.
      if (model.irVersion < 4) return { fixed: [] };
      const fixed = graph.inputs
        .map(({ name }) => name)
        .filter((name) => graph.initializers.has(name) || graph.sparseInitializers.has(name));
      for (const name of fixed) graph.removeInput(name);
      return { fixed };
    },
  };
}
