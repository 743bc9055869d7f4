/**
 * Images of drawn shapes, as IDX files with the names that MNIST's have:
 * `npx tsx scripts/shapes-data.ts <folder> [training images] [test images]`.
 *
 * 28 x 28 grey, ten classes, each at a random position, size, rotation, line thickness, contrast and noise level: the
 * shapes of fixtures/train_demo.py, a little tilted and with less noise, so that fewer of them will do. Seeded.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Random } from '../src/runtime/random.js';

export const SHAPES = [
  'disc',
  'ring',
  'square',
  'frame',
  'triangle',
  'cross',
  'star',
  'crescent',
  'horizontal stripes',
  'vertical stripes',
] as const;
type Shape = (typeof SHAPES)[number];

const SIDE = 28;
/** Half-points of the star: where a notch is, relative to the tips. */
const NOTCH = { angle: Math.PI / 5, radius: 0.42 };

/** Signed distance in pixels (negative inside) of a point from a shape of radius r with lines of half thickness t. */
function distance(shape: Shape, x: number, y: number, r: number, t: number): number {
  const radius = Math.hypot(x, y);
  const disc = radius - r;
  const square = Math.max(Math.abs(x), Math.abs(y)) - 0.85 * r;
  const stripes = (z: number): number => {
    const period = 3.6 * t;
    const place = (((z + r) % period) + period) % period;
    return Math.max(disc, Math.abs(place - period / 2) - period / 4);
  };
  switch (shape) {
    case 'disc':
      return disc;
    case 'ring':
      return Math.abs(disc) - t;
    case 'square':
      return square;
    case 'frame':
      return Math.abs(square) - t;
    case 'triangle':
      return (
        Math.max(
          ...[0, 1, 2].map((k) => x * Math.cos((2 * Math.PI * k) / 3) + y * Math.sin((2 * Math.PI * k) / 3)),
        ) -
        0.6 * r
      );
    case 'cross':
      return Math.min(Math.max(Math.abs(x) - t, Math.abs(y) - r), Math.max(Math.abs(y) - t, Math.abs(x) - r));
    case 'star': {
      const turn = 2 * NOTCH.angle;
      const angle = Math.atan2(y, x) + NOTCH.angle;
      const fold = Math.abs(angle - turn * Math.floor(angle / turn) - NOTCH.angle);
      const [nx, ny] = [NOTCH.radius * Math.cos(NOTCH.angle), NOTCH.radius * Math.sin(NOTCH.angle)];
      return (
        ((radius * Math.cos(fold) - r) * ny + radius * Math.sin(fold) * (1 - nx)) / Math.hypot(1 - nx, ny)
      );
    }
    case 'crescent':
      return Math.max(disc, 0.9 * r - Math.hypot(x - 0.55 * r, y));
    case 'horizontal stripes':
      return stripes(y);
    case 'vertical stripes':
      return stripes(x);
  }
}

/** One image, [28, 28] bytes. */
function drawShape(label: number, random: Random): Uint8Array {
  const shape = SHAPES[label] as Shape;
  const uniform = (low: number, high: number): number => low + (high - low) * random.uniform();
  const [left, top] = [uniform(-3, 3), uniform(-3, 3)];
  // Stripes keep their direction.
  const tilt = shape.endsWith('stripes') ? uniform(-0.3, 0.3) : uniform(-0.6, 0.6);
  const [r, t] = [uniform(5, 10), uniform(0.9, 1.7)];
  const [ground, contrast, noise] = [uniform(0, 0.3), uniform(0.35, 0.7), uniform(0.02, 0.15)];
  const [cos, sin] = [Math.cos(tilt), Math.sin(tilt)];
  const image = new Uint8Array(SIDE * SIDE);
  for (let i = 0; i < image.length; i += 1) {
    const x = (i % SIDE) - (SIDE - 1) / 2 - left;
    const y = Math.floor(i / SIDE) - (SIDE - 1) / 2 - top;
    const ink = Math.min(1, Math.max(0, 0.5 - distance(shape, x * cos + y * sin, y * cos - x * sin, r, t)));
    const value = ground + contrast * ink + noise * random.normal();
    image[i] = Math.round(255 * Math.min(1, Math.max(0, value)));
  }
  return image;
}

function idx(dims: readonly number[], data: Uint8Array): Buffer {
  const head = Buffer.alloc(4 + 4 * dims.length);
  head.writeUInt8(8, 2);
  head.writeUInt8(dims.length, 3);
  for (const [index, dim] of dims.entries()) head.writeUInt32BE(dim, 4 + 4 * index);
  return Buffer.concat([head, data]);
}

/** Draws images to train on and to test with into a folder. */
export function writeShapes(folder: string, counts: { readonly train: number; readonly test: number }): void {
  mkdirSync(folder, { recursive: true });
  for (const [part, prefix] of [
    ['train', 'train'],
    ['test', 't10k'],
  ] as const) {
    const count = counts[part];
    const labels = new Uint8Array(count);
    const images = new Uint8Array(count * SIDE * SIDE);
    for (let index = 0; index < count; index += 1) {
      const random = new Random(`shapes ${part}`, String(index));
      labels[index] = random.integer(SHAPES.length);
      images.set(drawShape(labels[index] as number, random), index * SIDE * SIDE);
    }
    writeFileSync(join(folder, `${prefix}-images-idx3-ubyte`), idx([count, SIDE, SIDE], images));
    writeFileSync(join(folder, `${prefix}-labels-idx1-ubyte`), idx([count], labels));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, train = '20000', test = '5000'] = process.argv.slice(2);
  if (folder === undefined) throw new Error('name a folder to draw into');
  writeShapes(folder, { train: Number(train), test: Number(test) });
  console.log(`${folder}: ${train} images to train on, ${test} to test with`);
}
