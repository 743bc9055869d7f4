import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { writeNpy } from '../../../src/runtime/io/npy.js';
import { writeNpz } from '../../../src/runtime/io/npz.js';
import type { RuntimeTensor } from '../../../src/runtime/types.js';
import { datasetSplits, openDataset, tensorDataset } from '../../../src/training/data/index.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { idx, pattern, write } from './files.js';

const root = scratchDirectory('onnx-overparam-data');
let folders = 0;
function folder(): string {
  folders += 1;
  const path = join(root, `data${folders}`);
  mkdirSync(path);
  return path;
}

const floats = (values: Iterable<number>): number[] => Array.from(values, (value) => Math.fround(value));
const numbers = (data: unknown): number[] => Array.from(data as Iterable<number | bigint>, Number);

describe('IDX', () => {
  const pixels = pattern(5 * 6);
  const labels = Uint8Array.of(3, 1, 4, 1, 5);

  test.each([
    ['plain', false, 2 ** 20],
    ['gzip', true, 2 ** 20],
    ['read by range', false, 0],
    ['gzip in a temporary file', true, 0],
  ])('images and labels, %s', async (_, packed, memory) => {
    const path = folder();
    write(join(path, 'train-images-idx3-ubyte'), idx([5, 2, 3], pixels), packed);
    write(join(path, 'train-labels-idx1-ubyte'), idx([5], labels), packed);
    write(join(path, 't10k-images-idx3-ubyte'), idx([1, 2, 3], pixels.subarray(0, 6)), packed);
    write(join(path, 't10k-labels-idx1-ubyte'), idx([1], labels.subarray(0, 1)), packed);
    expect(datasetSplits(path)).toEqual(['train', 'test']);
    await using data = await openDataset(path, { memory });
    expect(data.size).toBe(5);
    expect(data.inputs).toEqual([{ name: 'image', type: 'float32', shape: [1, 2, 3] }]);
    expect(data.target).toEqual({ name: 'label', type: 'int64', shape: [] });
    const { inputs, target } = await data.batch([4, 0]);
    expect(inputs.image?.shape).toEqual([2, 1, 2, 3]);
    const expected = [...pixels.subarray(24, 30), ...pixels.subarray(0, 6)].map((value) => value / 255);
    expect(floats(inputs.image?.data as Float32Array)).toEqual(floats(expected));
    expect(target).toEqual({ type: 'int64', shape: [2], data: BigInt64Array.of(5n, 3n) });
    await using held = await openDataset(path, { split: 'test', memory });
    expect(held.size).toBe(1);
    await expect(openDataset(path, { split: 'validation' })).rejects.toThrow(
      /no validation part; it has train, test/,
    );
  });

  test('elements of more than a byte are big-endian', async () => {
    const bytes = Buffer.alloc(4 * 4);
    for (const [index, value] of [1.5, -2.25, 1e10, 0].entries()) bytes.writeFloatBE(value, 4 * index);
    const file = write(join(folder(), 'x-idx2-float'), idx([2, 2], bytes, 0x0d));
    await using data = await openDataset(file);
    expect(numbers((await data.batch([0, 1])).inputs.image?.data)).toEqual([1.5, -2.25, 1e10, 0]);
  });

  test.each([
    ['a wrong magic number', Buffer.from([0, 0, 7, 3, 0, 0, 0, 1, 9, 9]), /of no format that is read/],
    [
      'a head that is cut short',
      Buffer.from([0, 0, 8, 3, 0, 0]),
      /cut short: the head of 3 dimensions takes 16 bytes/,
    ],
    [
      'missing pixels',
      idx([5, 2, 3], pixels.subarray(0, 29)),
      /cut short: it has 45 bytes, but its head tells of 46/,
    ],
    ['pixels too many', idx([4, 2, 3], pixels), /longer than its head says: byte 40 should be its end/],
    [
      'gzip cut short',
      gzipSync(idx([50, 20, 30], pattern(30_000))).subarray(0, 300),
      /gzip file is damaged or cut short/,
    ],
    ['gzip too long', gzipSync(idx([5, 2, 3], new Uint8Array(10 ** 6))), /longer than its head says/],
    ['sizes beyond all reason', idx([2 ** 31, 2 ** 31, 2 ** 31], pixels), /cut short/],
  ])('refuses %s, naming the file', async (_, bytes, message) => {
    const file = write(join(folder(), 'some-images-idx3-ubyte'), bytes);
    await expect(openDataset(file)).rejects.toThrow(message);
    await expect(openDataset(file)).rejects.toThrow(file);
  });

  test('refuses labels that do not belong to the images, and images without labels', async () => {
    const path = folder();
    write(join(path, 'train-images-idx3-ubyte'), idx([5, 2, 3], pixels));
    await expect(openDataset(path)).rejects.toThrow(/no file of labels beside it/);
    write(join(path, 'train-labels-idx1-ubyte'), idx([4], labels.subarray(0, 4)));
    await expect(openDataset(path)).rejects.toThrow(/has 4 labels for the 5 images/);
  });

  test('refuses a label beyond the classes of the model, when it is met', async () => {
    const path = folder();
    write(join(path, 'train-images-idx3-ubyte'), idx([5, 2, 3], pixels));
    write(join(path, 'train-labels-idx1-ubyte'), idx([5], labels));
    await using data = await openDataset(path, { classes: 5 });
    await data.batch([0, 1, 2, 3]);
    await expect(data.batch([4])).rejects.toThrow(
      /sample 4 has the label 5, but the model has 5 classes \(0–4\)/,
    );
  });
});

const MNIST = '../shared/data/mnist10k';
const hasMnist = existsSync(MNIST);
if (!hasMnist) console.warn(`the test on MNIST is skipped: there is no ${MNIST}`);
test.skipIf(!hasMnist)('MNIST: sizes, classes, and the mean and deviation that everyone knows', async () => {
  await using train = await openDataset(MNIST);
  await using held = await openDataset(MNIST, { split: 'test' });
  expect([train.size, held.size]).toEqual([7996, 2004]);
  const { inputs, target } = await train.batch(Array.from({ length: train.size }, (_, index) => index));
  const data = inputs.image?.data as Float32Array;
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
  const deviation = Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length);
  expect(mean).toBeCloseTo(0.1307, 2);
  expect(deviation).toBeCloseTo(0.3081, 2);
  expect(new Set(numbers(target?.data))).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
});

describe('CIFAR', () => {
  const record = (labels: readonly number[], seed: number): Uint8Array =>
    Uint8Array.of(...labels, ...pattern(3072, seed));

  test.each([2 ** 20, 0])('ten classes over several files, held up to %d bytes', async (memory) => {
    const path = folder();
    write(join(path, 'data_batch_1.bin'), Buffer.concat([record([7], 0), record([9], 1)]));
    write(join(path, 'data_batch_2.bin'), record([0], 2));
    write(join(path, 'test_batch.bin'), record([1], 3));
    const names = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
    write(join(path, 'batches.meta.txt'), `${names.join('\n')}\n\n`);
    await using data = await openDataset(path, { memory });
    expect(data.size).toBe(3);
    expect(data.classes).toEqual(names);
    expect(data.inputs[0]?.shape).toEqual([3, 32, 32]);
    const { inputs, target } = await data.batch([2, 1]);
    expect(numbers(target?.data)).toEqual([0, 9]);
    const expected = [...pattern(3072, 2), ...pattern(3072, 1)].map((value) => value / 255);
    expect(floats(inputs.image?.data as Float32Array)).toEqual(floats(expected));
    await using held = await openDataset(path, { split: 'test', memory });
    expect(numbers((await held.batch([0])).target?.data)).toEqual([1]);
  });

  test('a hundred classes have two labels', async () => {
    const path = folder();
    write(join(path, 'train.bin'), record([3, 57], 0));
    await using fine = await openDataset(path);
    await using coarse = await openDataset(path, { target: 'coarse' });
    expect(numbers((await fine.batch([0])).target?.data)).toEqual([57]);
    expect(numbers((await coarse.batch([0])).target?.data)).toEqual([3]);
    expect((await fine.batch([0])).inputs.image?.data[5]).toBeCloseTo((pattern(3072)[5] as number) / 255, 6);
    await expect(openDataset(path, { target: 'y' })).rejects.toThrow(/has the targets coarse, fine, not 'y'/);
  });

  test('refuses a file that is cut short, and a label that there is not', async () => {
    const path = folder();
    write(join(path, 'data_batch_1.bin'), record([3], 0).subarray(0, 3000));
    await expect(openDataset(path)).rejects.toThrow(/no whole number of records of 3073/);
    write(join(path, 'data_batch_1.bin'), Buffer.concat([record([3], 0), record([10], 0)]));
    await using data = await openDataset(path);
    await data.batch([0]);
    await expect(data.batch([1])).rejects.toThrow(/data_batch_1.bin: the label at byte 3073 is 10/);
  });
});

describe('NumPy', () => {
  const x = { type: 'float32', shape: [4, 2], data: Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7) } as const;
  const y = { type: 'int64', shape: [4], data: BigInt64Array.of(0n, 1n, 2n, 1n) } as const;

  test.each([
    ['held', 2 ** 20, false],
    ['read by range', 0, false],
    ['compressed', 2 ** 20, true],
  ])('arrays by name in a .npz, %s', async (_, memory, compress) => {
    const file = write(join(folder(), 'data.npz'), writeNpz({ labels: y, images: x }, { compress }));
    await using data = await openDataset(file, { memory });
    expect(data.inputs).toEqual([{ name: 'images', type: 'float32', shape: [2] }]);
    const { inputs, target } = await data.batch([3, 1, 2]);
    expect(numbers(inputs.images?.data)).toEqual([6, 7, 2, 3, 4, 5]);
    expect(numbers(target?.data)).toEqual([1, 1, 2]);
  });

  test('the names of the inputs, several of them', async () => {
    const ids = {
      type: 'int64',
      shape: [4, 3],
      data: BigInt64Array.from({ length: 12 }, (_, i) => BigInt(i)),
    } as const;
    const mask = { type: 'int32', shape: [4, 3], data: new Int32Array(12).fill(1) } as const;
    const file = write(join(folder(), 'data.npz'), writeNpz({ mask, other: x, ids, labels: y }));
    const inputs = [
      { name: 'ids', type: 'int64', shape: [undefined] },
      { name: 'mask', type: 'int64', shape: [3] },
    ] as const;
    await using data = await openDataset(file, { inputs });
    const batch = await data.batch([2]);
    expect(numbers(batch.inputs.ids?.data)).toEqual([6, 7, 8]);
    expect(batch.inputs.mask).toEqual({ type: 'int64', shape: [1, 3], data: BigInt64Array.of(1n, 1n, 1n) });
    await expect(openDataset(file, { inputs: [{ name: 'a' }, { name: 'b' }] })).rejects.toThrow(
      /which array is the input\? It has 'mask', 'other', 'ids', 'labels'; name it 'a', 'b'/,
    );
  });

  test('parts by the endings of names', async () => {
    const file = write(
      join(folder(), 'data.npz'),
      writeNpz({ x_train: x, y_train: y, x_test: { ...x, shape: [2, 4] } }),
    );
    expect(datasetSplits(file)).toEqual(['train', 'test']);
    await using data = await openDataset(file, { split: 'test' });
    expect([data.size, data.target]).toEqual([2, undefined]);
  });

  test('.npy files in a folder; an array in Fortran order and a big-endian one', async () => {
    const path = folder();
    const fortran = Buffer.from(writeNpy({ ...x, data: Float32Array.of(0, 2, 4, 6, 1, 3, 5, 7) }));
    fortran.write("'fortran_order': True, ", fortran.indexOf("'fortran_order'"), 'latin1');
    write(join(path, 'x.npy'), fortran);
    const big = Buffer.from(writeNpy(y));
    big.write('>', big.indexOf('<i8'), 'latin1');
    big.subarray(big.length - 32).swap64();
    write(join(path, 'y.npy'), big);
    await using data = await openDataset(path);
    const { inputs, target } = await data.batch([1, 3]);
    expect(numbers(inputs.x?.data)).toEqual([2, 3, 6, 7]);
    expect(numbers(target?.data)).toEqual([1, 1]);
    await expect(openDataset(path, { memory: 0 })).rejects.toThrow(
      /x.npy: is in Fortran order and larger than 0 bytes/,
    );
  });

  test('texts are the names of classes, one part numbered as the other', async () => {
    const names = { type: 'string', shape: [4], data: ['dog', 'cat', 'dog', 'eel'] } satisfies RuntimeTensor;
    const file = write(join(folder(), 'data.npz'), writeNpz({ x, y: names }));
    await using data = await openDataset(file);
    expect(data.classes).toEqual(['cat', 'dog', 'eel']);
    expect(numbers((await data.batch([0, 1, 2, 3])).target?.data)).toEqual([1, 0, 1, 2]);
    await using other = await openDataset(file, { classNames: ['eel', 'dog', 'cat'] });
    expect(numbers((await other.batch([0, 1, 2, 3])).target?.data)).toEqual([1, 2, 1, 0]);
    await expect(openDataset(file, { classNames: ['dog', 'cat'] })).rejects.toThrow(
      /sample 3 is of the class 'eel'/,
    );
  });

  test('refuses arrays of different lengths, and files that are cut short', async () => {
    const path = folder();
    const file = write(join(path, 'a.npz'), writeNpz({ x, y: { ...y, shape: [2, 2] } }));
    await expect(openDataset(file)).rejects.toThrow(/'y' has 2 samples, but 'x' has 4/);
    const short = write(join(path, 'b.npy'), writeNpy(x).subarray(0, -1));
    await expect(openDataset(short)).rejects.toThrow(/b.npy: is cut short: it has 31 of the 32 bytes/);
    const broken = writeNpz({ x, y });
    broken[170] = (broken[170] as number) ^ 1;
    const damaged = write(join(path, 'c.npz'), broken);
    await expect(openDataset(damaged)).rejects.toThrow(/c.npz: .*damaged/);
    const packed = write(join(path, 'd.npz'), writeNpz({ x, y }, { compress: true }));
    await expect(openDataset(packed, { memory: 0 })).rejects.toThrow(/compressed and larger than 0 bytes/);
  });

  test('what is a quantity and what is a label', async () => {
    const path = folder();
    const file = write(
      join(path, 'a.npz'),
      writeNpz({ x, y: { type: 'float32', shape: [4], data: Float32Array.of(0, 1.5, 2, 3) } }),
    );
    await using data = await openDataset(file);
    expect(data.target).toEqual({ name: 'y', type: 'float32', shape: [] });
    await using forced = await openDataset(file, { targetType: 'label' });
    expect(numbers((await forced.batch([0, 2])).target?.data)).toEqual([0, 2]);
    await expect(forced.batch([1])).rejects.toThrow(/the target 'y' has 1.5, which is no label/);
    const whole = write(join(path, 'b.npz'), writeNpz({ x, y }));
    await using quantities = await openDataset(whole, { targetType: 'value' });
    expect((await quantities.batch([2])).target).toEqual({
      type: 'float32',
      shape: [1],
      data: Float32Array.of(2),
    });
    const column = write(join(path, 'c.npz'), writeNpz({ x, y: { ...y, shape: [4, 1] } }));
    await using squeezed = await openDataset(column);
    expect(squeezed.target?.shape).toEqual([]);
  });
});

describe('CSV', () => {
  test.each([
    ['held', 2 ** 20, false],
    ['gzip, in a temporary file', 0, true],
  ])('names of classes, a header, a column of its own, %s', async (_, memory, packed) => {
    const text = 'a,kind,b\r\n1,"rose",2\r\n3.5,iris,-4e2\r\n\r\n5,"rose",6\r\n';
    const file = write(join(folder(), 'flowers.csv'), text, packed);
    await using data = await openDataset(file, { target: 'kind', memory });
    expect([data.size, data.classes]).toEqual([3, ['iris', 'rose']]);
    const { inputs, target } = await data.batch([2, 1]);
    expect(inputs.features).toEqual({
      type: 'float32',
      shape: [2, 2],
      data: Float32Array.of(5, 6, 3.5, -400),
    });
    expect(numbers(target?.data)).toEqual([1, 0]);
  });

  test('without a header, semicolons, the last column', async () => {
    const file = write(join(folder(), 'x.csv'), '1;2;0\n3;4;1\n');
    await using data = await openDataset(file);
    expect(data.size).toBe(2);
    expect(data.target).toEqual({ name: 'column 3', type: 'int64', shape: [] });
    await using first = await openDataset(file, { target: 0 });
    expect(numbers((await first.batch([0])).inputs.features?.data)).toEqual([2, 0]);
    await using all = await openDataset(file, { unlabeled: true });
    expect([all.inputs[0]?.shape, all.target]).toEqual([[3], undefined]);
  });

  test('quantities, and one mean and deviation a feature', async () => {
    const file = write(join(folder(), 'x.csv'), 'a,b,price\n1,10,0.5\n3,30,1.25\n');
    await using data = await openDataset(file, { mean: [2, 20], std: [1, 10] });
    const { inputs, target } = await data.batch([0, 1]);
    expect(numbers(inputs.features?.data)).toEqual([-1, -1, 1, 1]);
    expect(target).toEqual({ type: 'float32', shape: [2], data: Float32Array.of(0.5, 1.25) });
    await expect(openDataset(file, { mean: [1, 2, 3] })).rejects.toThrow(
      /mean has 3 values, but there are 2 channels/,
    );
  });

  test('pixels in columns become images', async () => {
    const file = write(join(folder(), 'x.csv'), 'label,p0,p1,p2,p3\n7,0,51,102,255\n');
    const inputs = [{ name: 'x', type: 'float32', shape: [1, 2, 2] }] as const;
    await using data = await openDataset(file, { target: 'label', inputs, scale: 1 / 255 });
    const batch = await data.batch([0]);
    expect(batch.inputs.x?.shape).toEqual([1, 1, 2, 2]);
    expect(floats(batch.inputs.x?.data as Float32Array)).toEqual(floats([0, 0.2, 0.4, 1]));
  });

  test('many rows, over several blocks', async () => {
    const width = 2000;
    const rows = Array.from({ length: 1200 }, (_, row) => `${row},${'1,'.repeat(width - 1)}${row % 3}`);
    const file = write(join(folder(), 'x.csv'), rows.join('\n'));
    await using data = await openDataset(file, { memory: 5 * 2 ** 20 });
    const { inputs, target } = await data.batch([0, 523, 524, 525, 1199]);
    const features = inputs.features?.data as Float32Array;
    expect([0, 1, 2, 3, 4].map((at) => features[at * width])).toEqual([0, 523, 524, 525, 1199]);
    expect(numbers(target?.data)).toEqual([0, 1, 2, 0, 2]);
  });

  test.each([
    ['a text among numbers', 'a,b,c\n1,2,0\n3,four,1\n', /line 3, column 'b': 'four' is no number/],
    ['an empty field', 'a,b,c\n1,,0\n', /line 2, column 'b': is empty/],
    ['an empty target', '1,2,\n', /line 1, column 3: is empty/],
    ['a line of another length', '1,2,0\n3,4\n', /is not CSV: .*line 2/],
    ['an open quote', '1,2,0\n"3,4,1\n', /is not CSV/],
    ['nothing', '', /is empty/],
    ['a header alone', 'a,b,c\n', /has no rows/],
    ['one column', '1\n2\n', /one column alone/],
  ])('refuses %s, naming the file and the line', async (_, text, message) => {
    const file = write(join(folder(), 'bad.csv'), text);
    await expect(openDataset(file)).rejects.toThrow(message);
    await expect(openDataset(file)).rejects.toThrow(file);
  });

  test('refuses a target that is no column', async () => {
    const file = write(join(folder(), 'x.csv'), 'a,b,c\n1,2,0\n');
    await expect(openDataset(file, { target: 'd' })).rejects.toThrow(/no column 'd'; it has a, b, c/);
    await expect(openDataset(file, { target: 5 })).rejects.toThrow(/no column 5/);
  });
});

describe('folders of images', () => {
  const size = { width: 4, height: 3, channels: 3 } as const;
  const png = (seed: number, of: { width: number; height: number; channels: 3 } = size): Promise<Buffer> =>
    sharp(pattern(of.width * of.height * 3, seed), { raw: of })
      .png()
      .toBuffer();

  async function imageFolder(): Promise<string> {
    const path = folder();
    for (const [split, classes] of [
      ['train', ['cat', 'dog', 'eel']],
      ['val', ['dog']],
    ] as const) {
      for (const [index, name] of classes.entries()) {
        mkdirSync(join(path, split, name), { recursive: true });
        writeFileSync(join(path, split, name, 'b.png'), await png(index));
        writeFileSync(join(path, split, name, 'a.png'), await png(10 + index));
      }
    }
    return path;
  }

  test('a folder without images is told', async () => {
    const path = await imageFolder();
    mkdirSync(join(path, 'train', 'cow'));
    writeFileSync(join(path, 'train', 'cow', 'readme.txt'), 'none yet');
    await using data = await openDataset(path);
    expect([data.classes, data.notes]).toEqual([
      ['cat', 'cow', 'dog', 'eel'],
      ["the folder 'cow' has no images"],
    ]);
    await using alone = await openDataset(join(path, 'train'));
    expect([alone.classes, alone.notes]).toEqual([
      ['cat', 'dog', 'eel'],
      ["the folder 'cow' has no images, and is no class"],
    ]);
  });

  test('classes by folder, numbered alike in each part, pixels as they are', async () => {
    const path = await imageFolder();
    expect(datasetSplits(path)).toEqual(['train', 'validation']);
    await using data = await openDataset(path);
    expect([data.size, data.classes]).toEqual([6, ['cat', 'dog', 'eel']]);
    const { inputs, target } = await data.batch([0, 3]);
    expect(inputs.image?.shape).toEqual([2, 3, 3, 4]);
    expect(numbers(target?.data)).toEqual([0, 1]);
    // By row, column and channel in the file; by channel, row and column in the tensor.
    const bytes = pattern(36, 10);
    const expected = Array.from(
      { length: 36 },
      (_, at) => (bytes[(at % 12) * 3 + Math.floor(at / 12)] as number) / 255,
    );
    expect(floats(inputs.image?.data.slice(0, 36) as Float32Array)).toEqual(floats(expected));
    await using held = await openDataset(path, { split: 'validation' });
    expect(numbers((await held.batch([0, 1])).target?.data)).toEqual([1, 1]);
  });

  test("come to the model's size and order", async () => {
    const path = await imageFolder();
    writeFileSync(join(path, 'train', 'cat', 'c.png'), await png(5, { width: 9, height: 7, channels: 3 }));
    await using plain = await openDataset(path);
    await expect(plain.batch([2])).rejects.toThrow(
      /c.png: is 9 x 7 pixels, but a.png is 4 x 3; name the shape/,
    );
    for (const [shape, expected] of [
      [
        [3, 5, 6],
        [3, 5, 6],
      ],
      [
        [5, 6, 3],
        [5, 6, 3],
      ],
      [
        [1, 5, 6],
        [1, 5, 6],
      ],
      [
        [undefined, 5, 6],
        [3, 5, 6],
      ],
      [
        [3, undefined, undefined],
        [3, 3, 4],
      ],
      [
        [5, 6],
        [5, 6],
      ],
      [[36], [36]],
      [[12], [12]],
    ] as const) {
      await using data = await openDataset(path, { inputs: [{ name: 'x', type: 'float32', shape }] });
      expect(data.inputs[0]).toEqual({ name: 'x', type: 'float32', shape: expected });
      const { inputs } = await data.batch([0, 3]);
      expect(inputs.x?.data.length).toBe(2 * expected.reduce<number>((a, b) => a * b, 1));
    }
    await expect(openDataset(path, { inputs: [{ name: 'x', shape: [4, 5, 6] }] })).rejects.toThrow(
      /4 x 3 pixels of 1 or 3 channels, which do not become \[4, 5, 6\]/,
    );
  });

  test('one colour stays one colour through resizing', async () => {
    const path = folder();
    const colours = ['#ff0000', '#0000ff'] as const;
    for (const [index, background] of colours.entries()) {
      mkdirSync(join(path, `class${index}`));
      const image = sharp({ create: { width: 30, height: 20, channels: 3, background } });
      writeFileSync(join(path, `class${index}`, 'x.jpg'), await image.jpeg({ quality: 100 }).toBuffer());
    }
    await using data = await openDataset(path, {
      inputs: [{ name: 'x', shape: [3, 8, 8] }],
      mean: 0.5,
      std: 0.5,
    });
    const red = (await data.batch([0])).inputs.x?.data as Float32Array;
    for (const [at, value] of red.entries()) expect(value).toBeCloseTo(at < 64 ? 1 : -1, 1);
  });

  test.each([
    ['planes', [3, 4, 5], 'chw'],
    ['pixels', [4, 5, 3], 'hwc'],
  ] as const)('arrays of %s are resized too', async (_, shape, layout) => {
    const colours = [10, 100, 200];
    const at = (index: number): number => (layout === 'chw' ? Math.floor(index / 20) % 3 : index % 3);
    const data = Uint8Array.from({ length: 2 * 60 }, (_, index) => colours[at(index)] as number);
    const file = write(
      join(folder(), 'x.npz'),
      writeNpz({ x: { type: 'uint8', shape: [2, ...shape], data } }),
    );
    for (const size of [
      [8, 10],
      [2, 3],
      [9, 3],
    ] as const) {
      await using dataset = await openDataset(file, {
        layout,
        inputs: [{ name: 'x', shape: [3, ...size] }],
        scale: 1,
      });
      const { x } = (await dataset.batch([1, 0])).inputs;
      expect(x?.shape).toEqual([2, 3, ...size]);
      const area = size[0] * size[1];
      expect(numbers(x?.data)).toEqual(
        Array.from({ length: 6 * area }, (_, i) => colours[Math.floor(i / area) % 3]),
      );
    }
  });

  test('grey images become three equal colours, resized or not, and it is told', async () => {
    const data = pattern(2 * 4 * 5);
    const arrays = [
      ['uint8', data],
      ['float32', Float32Array.from(data)],
    ] as const;
    for (const [type, values] of arrays) {
      const tensors = { x: { type, shape: [2, 1, 4, 5], data: values } };
      for (const shape of [
        [3, 4, 5],
        [4, 5, 3],
      ]) {
        await using dataset = tensorDataset(tensors, { scale: 1, inputs: [{ name: 'x', shape }] });
        expect(dataset.notes).toEqual(['images of 5 x 4 pixels become grey in three channels']);
        const { x } = (await dataset.batch([1])).inputs;
        const own = Array.from(data.subarray(20));
        expect(numbers(x?.data)).toEqual(
          shape[0] === 3 ? [...own, ...own, ...own] : own.flatMap((value) => [value, value, value]),
        );
      }
    }
    const x = { type: 'uint8', shape: [1, 1, 2, 3], data: new Uint8Array(6).fill(7) } as const;
    await using large = tensorDataset({ x }, { scale: 1, inputs: [{ name: 'x', shape: [3, 8, 8] }] });
    expect(new Set(numbers((await large.batch([0])).inputs.x?.data))).toEqual(new Set([7]));
    expect(large.notes).toEqual([
      'images of 3 x 2 pixels are resized to 8 x 8, cut at the sides where proportions differ, grey in three channels',
    ]);
    await using same = tensorDataset({ x }, { inputs: [{ name: 'x', shape: [1, 2, 3] }] });
    expect(same.notes).toEqual([]);
  });

  test('images without classes have no target', async () => {
    const path = folder();
    writeFileSync(join(path, 'a.png'), await png(0));
    await using data = await openDataset(path);
    expect([data.size, data.target]).toEqual([1, undefined]);
  });

  test('refuses damaged images, naming the file, and a part with a class of its own', async () => {
    const path = await imageFolder();
    const whole = await sharp(pattern(64 * 64 * 3), { raw: { width: 64, height: 64, channels: 3 } })
      .jpeg()
      .toBuffer();
    // Before anything is trained: not in the midst of an epoch.
    const spoilt = { 'z.jpg': whole.subarray(0, whole.length / 2), 'z.png': 'no image', 'y.jpg': '' };
    for (const [name, content] of Object.entries(spoilt)) {
      const file = join(path, 'train', 'eel', name);
      writeFileSync(file, content);
      const said = new RegExp(`${name}: (the image is damaged|is not an image that can be read)`);
      await expect(openDataset(path)).rejects.toThrow(said);
      rmSync(file);
    }
    // Whole at both ends, damaged between them.
    const damaged = await sharp(pattern(64 * 64 * 3), { raw: { width: 64, height: 64, channels: 3 } })
      .png()
      .toBuffer();
    damaged.fill(0xff, damaged.length >> 1, damaged.length - 64);
    const within = write(join(path, 'train', 'eel', 'z.png'), damaged);
    await expect(openDataset(path)).rejects.toThrow(/z\.png: the image is damaged/);
    rmSync(within);
    // Left out, a class would miss images, or be none.
    const bitmap = write(join(path, 'train', 'eel', 'z.bmp'), Buffer.from('BM'));
    await expect(openDataset(path)).rejects.toThrow(
      'z.bmp: is an image of a format that is not read; convert it',
    );
    rmSync(bitmap);
    mkdirSync(join(path, 'val', 'fox'));
    writeFileSync(join(path, 'val', 'fox', 'a.png'), await png(0));
    await expect(openDataset(path, { split: 'validation' })).rejects.toThrow(
      /fox: is no class of the training data/,
    );
  });
});

describe('samples that are left out', () => {
  test('images that cannot be decoded: the classes keep their numbers, and it is told', async () => {
    const path = folder();
    const image = await sharp(pattern(12), { raw: { width: 2, height: 2, channels: 3 } })
      .png()
      .toBuffer();
    for (const name of ['ant', 'bee', 'cow']) mkdirSync(join(path, name));
    write(join(path, 'ant', 'a.png'), 'no image');
    write(join(path, 'bee', 'a.png'), image);
    write(join(path, 'cow', 'a.png'), image.subarray(0, image.length - 20));
    write(join(path, 'cow', 'b.png'), image);
    await using data = await openDataset(path, { skipBad: true });
    expect([data.size, data.classes]).toEqual([2, ['ant', 'bee', 'cow']]);
    expect(numbers((await data.batch([0, 1])).target?.data)).toEqual([1, 2]);
    expect([data.nameOf?.(0), data.nameOf?.(1)]).toEqual([join('bee', 'a.png'), join('cow', 'b.png')]);
    expect(data.notes).toHaveLength(1);
    expect(data.notes?.[0]).toMatch(/^skipped 2 of 4 images: .*ant.a\.png: .*; .*cow.a\.png: /);
    for (const name of ['bee/a.png', 'cow/b.png']) rmSync(join(path, name));
    await expect(openDataset(path, { skipBad: true })).rejects.toThrow(/has no image that can be decoded/);
  });

  test('lines of a table that hold no numbers, no target, or another number of fields', async () => {
    const file = write(join(folder(), 'x.csv'), 'a,b,y\n1,2,0\n3,?,1\n4,5,\n6,7\n8,9,1,3\n10,11,1\n');
    await expect(openDataset(file)).rejects.toThrow(/on line 5/);
    await using data = await openDataset(file, { skipBad: true });
    const { inputs, target } = await data.batch([0, 1]);
    expect([data.size, numbers(inputs.features?.data), numbers(target?.data)]).toEqual([
      2,
      [1, 2, 10, 11],
      [0, 1],
    ]);
    expect(data.notes?.[0]).toMatch(
      /^skipped 4 of 6 lines: .*line 3, .*line 4, .*line 5: has 2 fields, not 3; .*line 6/,
    );
  });
});

describe('what is no data', () => {
  test.each([
    ['nothing', () => join(root, 'nowhere'), /no such file or folder/],
    ['an empty folder', () => folder(), /holds no data that is read: IDX/],
    ['some bytes', () => write(join(folder(), 'x'), Uint8Array.of(1, 2, 0, 3)), /of no format that is read/],
    [
      'an image',
      () => write(join(folder(), 'x.png'), Uint8Array.of(0x89, 0x50, 0)),
      /single image; name a folder/,
    ],
  ])('%s', async (_, path, message) => {
    await expect(openDataset(path())).rejects.toThrow(message);
  });

  test('folders that hold the data alone are looked into', async () => {
    const path = folder();
    mkdirSync(join(path, 'MNIST', 'raw'), { recursive: true });
    write(join(path, 'MNIST', 'raw', 'train-images-idx3-ubyte'), idx([1, 2, 2], pattern(4)));
    write(join(path, 'MNIST', 'raw', 'train-labels-idx1-ubyte'), idx([1], pattern(1)));
    await using data = await openDataset(path);
    expect(data.size).toBe(1);
  });
});
