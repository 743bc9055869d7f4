import fc from 'fast-check';
import { asArray, byteLengthOf } from '../../src/graph/index.js';
import { RUNTIME_TYPES, type RuntimeTensor } from '../../src/runtime/types.js';

/** Small tensors of every type that goes in and out of a run, of any bits; NaN only as the one that JavaScript makes. */
export function tensors(): fc.Arbitrary<RuntimeTensor> {
  const shape = fc.array(fc.nat(4), { maxLength: 4 }).filter((dims) => dims.reduce((a, b) => a * b, 1) <= 48);
  return fc
    .tuple(fc.constantFrom(...RUNTIME_TYPES), shape)
    .chain(([type, dims]): fc.Arbitrary<RuntimeTensor> => {
      const size = dims.reduce((a, b) => a * b, 1);
      const exactly = { minLength: size, maxLength: size };
      const make = (data: RuntimeTensor['data']): RuntimeTensor => ({ type, shape: dims, data });
      switch (type) {
        case 'string':
          return fc.array(fc.string({ unit: 'grapheme' }), exactly).map(make);
        case 'bool':
          return fc.array(fc.nat(1), exactly).map((bits) => make(Uint8Array.from(bits)));
        case 'float32':
          return fc.float32Array({ ...exactly }).map((data) => make(data));
        case 'float64':
          return fc.float64Array({ ...exactly }).map((data) => make(data));
        default: {
          const length = byteLengthOf(type, size);
          return fc
            .uint8Array({ minLength: length, maxLength: length })
            .map((bytes) => make(asArray(type, bytes.slice())))
            .map((tensor) => (/^b?float16$/.test(type) ? withoutNan(tensor) : tensor));
        }
      }
    });
}

/** The payload of a NaN does not survive the way through a number. */
function withoutNan(tensor: RuntimeTensor): RuntimeTensor {
  const exponent = tensor.type === 'float16' ? 0x7c00 : 0x7f80;
  const bits = (tensor.data as Uint16Array).map((value) =>
    (value & exponent) === exponent ? value & 0x8000 : value,
  );
  return { ...tensor, data: bits };
}
