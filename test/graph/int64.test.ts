import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelError, modelToBytes, readModel, Tensor, ValueInfo } from '../../src/graph/index.js';
import { createMessage, fromBigInt, toBigInt, toNumber } from '../../src/graph/proto/codec.js';
import { buildModel } from '../support/build.js';

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
const int64 = fc.oneof(
  fc.bigInt(INT64_MIN, INT64_MAX),
  fc.constantFrom(INT64_MAX, INT64_MIN, 2n ** 53n, -1n, 0n),
);

/** What a position is: the number itself, or the end on that side. */
function saturated(value: bigint): number {
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > limit ? limit : value < -limit ? -limit : value);
}

describe('integers of 64 bits', () => {
  test('are read as exact bits or as the nearest position, in attributes and in tensors', () => {
    fc.assert(
      fc.property(fc.array(int64, { minLength: 1, maxLength: 5 }), (list) => {
        const attributes = { ints: { ints: list }, one: { int: list[0] ?? 0n } };
        const model = buildModel({
          nodes: [{ opType: 'Some', domain: 'own', inputs: [], outputs: ['y'], attributes }],
          opset: { '': 17, own: 1 },
        });
        const node = model.graph.nodes[0]!;
        expect(node.attributes.bigints('ints')).toEqual(list);
        expect(node.attributes.ints('ints')).toEqual(list.map(saturated));
        expect(node.attributes.int('one', 0)).toBe(saturated(list[0]!));
        const tensor = Tensor.of('t', 'int64', [list.length], BigInt64Array.from(list));
        expect(tensor.integers()).toEqual(list.map(saturated));
        expect([...(tensor.array() as BigInt64Array)]).toEqual(list);
      }),
    );
  });

  test('written from numbers never wrap', () => {
    fc.assert(
      fc.property(int64, (value) => {
        expect(toBigInt(fromBigInt(value))).toBe(value);
        // The position that was read of it, written again, is on the same side of zero and no further out.
        const again = toBigInt(fromBigInt(toNumber(value)));
        expect(again < 0n).toBe(value < 0n);
        expect(again < 0n ? again >= value : again <= value).toBe(true);
      }),
    );
    for (const value of [2n ** 63n, 2n ** 64n, 2 ** 63, INT64_MIN - 1n])
      expect(() => fromBigInt(value)).toThrow(RangeError);
  });

  test('as sizes that no tensor can have say nothing', () => {
    const input = ValueInfo.tensor('x', 'float32', [2, undefined]);
    input.proto.type!.tensor_type!.shape!.dim![1] = createMessage('DimensionProto', {
      dim_value: fromBigInt(INT64_MAX),
    });
    expect(input.shape).toEqual([2, undefined]);
    expect(String(input)).toBe(`float32[2, ${INT64_MAX}]`);
    const shaped = (dims: bigint[]): Tensor =>
      new Tensor(createMessage('TensorProto', { data_type: 1, name: 't', dims: dims.map(fromBigInt) }));
    expect(() => shaped([INT64_MAX]).shape).toThrow(ModelError);
    expect(shaped([0n, INT64_MAX]).size).toBe(0);
  });

  test('as versions of operator sets are read and kept', async () => {
    const model = buildModel({
      inputs: [['x', 'float32', [1]]],
      outputs: [['y', 'float32', [1]]],
      nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
    });
    model.proto.opset_import!.push(
      createMessage('OperatorSetIdProto', { domain: 'own', version: fromBigInt(INT64_MAX) }),
    );
    model.proto.model_version = fromBigInt(INT64_MIN);
    const again = await readModel(modelToBytes(model));
    expect(again.opset('own')).toBe(Number.MAX_SAFE_INTEGER);
    expect(toBigInt(again.proto.opset_import![1]!.version)).toBe(INT64_MAX);
    expect(toBigInt(again.proto.model_version)).toBe(INT64_MIN);
  });
});
