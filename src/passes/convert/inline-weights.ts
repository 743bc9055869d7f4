import { type Model, type Pass, Tensor } from '../../graph/index.js';
import type { GraphProto, TensorProto } from '../../graph/proto/schema.js';

/** What inlineWeights returns. */
export interface InlineWeightsAccount {
  /** Names of the weights that were in other files. */
  readonly inlined: readonly string[];
}

/**
 * Takes weights that are in other files into the model, for `saveModel` to write one file. They are read for this.
 *
 * @throws ModelError (when it runs) for a file that is missing or too short
 * @example
 * await model.apply(inlineWeights());
 * await saveModel(model, 'one-file.onnx', { external: 'never' });
 */
export function inlineWeights(): Pass<InlineWeightsAccount> {
  return {
    name: 'inline-weights',
    inPlace: true,
    run: async (model: Model) => {
      const inlined: string[] = [];
      const graphs = [model.graph, ...[...model.nodes()].flatMap((node) => node.subgraphs)];
      for (const graph of new Set(graphs)) {
        const proto = graph.proto as GraphProto;
        if (!proto.initializer?.some(isExternal)) continue;
        proto.initializer = proto.initializer.map((tensor) => {
          if (!isExternal(tensor)) return tensor;
          inlined.push(tensor.name ?? '');
          const { name, dataType, shape, rawSource } = new Tensor(tensor);
          return rawSource === undefined ? tensor : Tensor.of(name, dataType, shape, rawSource).proto;
        });
        graph.touch();
      }
      return { inlined };
    },
  };
}

const isExternal = (tensor: TensorProto): boolean => new Tensor(tensor).isExternal;
