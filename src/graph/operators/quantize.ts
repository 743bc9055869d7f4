import { axis, each, type Family } from './traits.js';

/** Operators on integers with a scale. */
export const QUANTIZE = {
  QuantizeLinear: { shape: 'first', quantized: true, decides: true, ...axis(1) },
  DynamicQuantizeLinear: { shape: 'first', quantized: true, decides: true },
  DequantizeLinear: { shape: 'first', quantized: true, ...axis(1) },
  ...each(['ConvInteger', 'MatMulInteger', 'QLinearConv', 'QLinearMatMul'], { quantized: true }),
} satisfies Family;
