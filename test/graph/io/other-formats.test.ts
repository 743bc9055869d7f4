import { expect, test } from 'vitest';
import { readModel } from '../../../src/graph/index.js';

test.each<[string, string, string]>([
  [
    'a PyTorch checkpoint',
    'PK\x03\x04\x00\x00\x08\x08\x00\x00',
    'a zip archive, such as a PyTorch checkpoint',
  ],
  ['an old one', '\x80\x02\x8a\x0al\xfc\x9cF\xf9', 'a Python pickle, such as an old PyTorch checkpoint'],
  ['a Keras model', '\x89HDF\r\n\x1a\n\x00\x00', 'an HDF5 file, such as a Keras model'],
  ['a TensorFlow Lite model', '\x1c\x00\x00\x00TFL3\x00\x00', 'a TensorFlow Lite model'],
])('%s is named for what it is', async (_, head, said) => {
  await expect(readModel(Buffer.from(head.padEnd(100, '\x00'), 'latin1'))).rejects.toThrow(
    `not an ONNX model: this is ${said}`,
  );
});
