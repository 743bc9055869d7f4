import { describe, expect, it } from 'vitest';
import { verifyModels } from '../../../src/analysis/verify/verify.js';
import { type Model, printModel, readModel, ValueInfo } from '../../../src/graph/index.js';
import type { GraphProto } from '../../../src/graph/proto/schema.js';
import { collapse, expand, fixInputs, rankReport } from '../../../src/index.js';

/** The demo's model with all weights among its inputs, as some exporters write them. */
async function listed(): Promise<Model> {
  const model = await readModel('fixtures/shapes.onnx');
  const proto = model.graph.proto as GraphProto;
  proto.input = [
    ...(proto.input ?? []),
    ...[...model.graph.initializers.values()].map(
      ({ name, dataType, shape }) => ValueInfo.tensor(name, dataType, shape).proto,
    ),
  ];
  model.graph.touch();
  return model;
}

describe('fixInputs', () => {
  it('makes constants of what a caller could replace, and nothing else', async () => {
    const plain = await readModel('fixtures/shapes.onnx');
    const model = await listed();
    expect((await model.apply(expand()))[0].rewritten).toEqual([]);
    expect((await rankReport(model)).rows).toEqual([]);
    const [{ fixed }, account] = await model.apply(fixInputs(), expand());
    expect(fixed).toEqual([...plain.graph.initializers.keys()]);
    expect(account.rewritten).toHaveLength(9);
    expect((await verifyModels(plain, model)).passed).toBe(true);
    expect((await model.apply(fixInputs()))[0].fixed).toEqual([]);
    await model.apply(collapse({ chainsOnly: true }));
    expect(printModel(model)).toBe(printModel(plain));
  });
});
