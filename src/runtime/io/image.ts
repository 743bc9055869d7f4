import type { Sharp } from 'sharp';
import { assertFits, FileSource, ModelError, messageOf } from '../../graph/index.js';
import { type Bytes, enlarge } from './enlarge.js';
import type { ImageFit } from './image-options.js';

export { IMAGE_FITS, type ImageFit } from './image-options.js';

const ENDINGS = ['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.avif'] as const;

/** Whether a file's name is that of an image that readImage reads. */
export function isImageName(name: string): boolean {
  return ENDINGS.some((ending) => name.toLowerCase().endsWith(ending));
}

/** Whether a file begins as an image that readImage reads. */
export function isImage(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.subarray(0, 12)).toString('latin1');
  return /^(?:\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftypavif)/s.test(text);
}

/** An image as bytes, by row, column and channel. */
export interface Image {
  readonly width: number;
  readonly height: number;
  /** 1: grey; 3: red, green, blue. */
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

/** Options of readImage. */
export interface ReadImageOptions {
  /** Pixels; default as the image has. Goes with `height`. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Default 'cover': the whole size is filled, and what is too wide or too high is cut off on both sides alike. */
  readonly fit?: ImageFit | undefined;
  /** Default as the image has. Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as in Pillow. */
  readonly channels?: 1 | 3 | undefined;
}

/**
 * Decodes an image (PNG, JPEG, WebP, GIF, TIFF, AVIF), turned upright as its EXIF data tells, without its
 * transparency, 8 bits a channel in sRGB, and resizes it: bilinear, filtered where it gets smaller. The work is done in threads of the
 * image library, not on the calling one.
 *
 * @param source a file, or its bytes
 * @throws ModelError naming the file, for what is no image, is cut short or damaged
 * @example
 * const { data } = await readImage('cat.jpg', { width: 224, height: 224, channels: 3 });
 */
export async function readImage(source: string | Uint8Array, options: ReadImageOptions = {}): Promise<Image> {
  try {
    // The library reads more formats, among them some that a few bytes make large.
    if (!isImage(headOf(source))) throw new ModelError(NO_IMAGE, { file: fileOf(source) });
    const sharp = await library();
    // Damaged data would otherwise become grey areas.
    const open = (): Sharp => sharp(source, { failOn: 'error' });
    const { autoOrient: natural, space } = await open().metadata();
    const what = `an image of ${natural.width} x ${natural.height} pixels`;
    assertFits(4 * natural.width * natural.height, what, { file: fileOf(source) });
    const image = open().autoOrient().removeAlpha().toColourspace('srgb');
    const channels = options.channels ?? (space === 'b-w' || space === 'grey16' ? 1 : 3);
    return withChannels(await decoded(image, natural, options), channels);
  } catch (error) {
    if (error instanceof ModelError) throw error;
    const where = { file: typeof source === 'string' ? source : undefined };
    throw new ModelError(whatIsWrong(error), where, { cause: error });
  }
}

/**
 * Resizes pixels that are in memory, as readImage does.
 *
 * @param pixels of 1 or 3 channels, side by side
 */
export async function resizePixels(
  pixels: Image,
  to: { readonly width: number; readonly height: number; readonly fit?: ImageFit | undefined },
): Promise<Image> {
  const { width, height, channels, data } = pixels;
  if (to.width >= width && to.height >= height && isSameShape(pixels, to)) {
    return withChannels(enlarge(pixels, to.width, to.height), channels);
  }
  const sharp = await library();
  return withChannels(await decoded(sharp(data, { raw: { width, height, channels } }), pixels, to), channels);
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** The pixels of an image in a size, as the library has them: its own where none is named. */
async function decoded(image: Sharp, natural: Size, options: ReadImageOptions): Promise<Bytes> {
  const { width, height, fit = 'cover' } = options;
  if (width === undefined || height === undefined) return await pixelsOf(image);
  const size = { width, height };
  // What is cut out of the image, and the size that it gets.
  const cut = fit === 'cover' ? within(natural, size) : natural;
  const inner = fit === 'contain' ? within(size, natural) : size;
  if (inner.width <= cut.width && inner.height <= cut.height) {
    return await pixelsOf(image.resize(width, height, { fit, kernel: 'linear', background: '#000' }));
  }
  const reduced = { width: Math.min(cut.width, inner.width), height: Math.min(cut.height, inner.height) };
  const [left, top] = [(natural.width - cut.width) >> 1, (natural.height - cut.height) >> 1];
  const part = await pixelsOf(
    image.extract({ left, top, ...cut }).resize({ ...reduced, fit: 'fill', kernel: 'linear' }),
  );
  return padded(enlarge(part, inner.width, inner.height), size);
}

/** The largest size of the proportions of `shape` within `size`. */
function within(size: Size, shape: Size): Size {
  const scale = Math.min(size.width / shape.width, size.height / shape.height);
  const fitted = (length: number, most: number): number =>
    Math.min(most, Math.max(1, Math.round(length * scale)));
  return { width: fitted(shape.width, size.width), height: fitted(shape.height, size.height) };
}

function isSameShape(a: Size, b: Size): boolean {
  return a.width * b.height === b.width * a.height;
}

async function pixelsOf(image: Sharp): Promise<Bytes> {
  const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, channels: info.channels, data };
}

/** An image in the middle of black. */
function padded(image: Bytes, { width, height }: Size): Bytes {
  if (image.width === width && image.height === height) return image;
  const { channels } = image;
  const data = new Uint8Array(width * height * channels);
  const [left, top] = [(width - image.width) >> 1, (height - image.height) >> 1];
  const stride = image.width * channels;
  for (let row = 0; row < image.height; row += 1) {
    data.set(image.data.subarray(row * stride, (row + 1) * stride), ((row + top) * width + left) * channels);
  }
  return { width, height, channels, data };
}

function withChannels({ width, height, channels: has, data }: Bytes, channels: 1 | 3): Image {
  if (has === channels) return { width, height, channels, data };
  const pixels = width * height;
  const result = new Uint8Array(pixels * channels);
  for (let pixel = 0; pixel < pixels; pixel += 1) {
    const at = has * pixel;
    const red = data[at] as number;
    if (has < 3) result.fill(red, channels * pixel, channels * (pixel + 1));
    else result[pixel] = luma(red, data[at + 1] as number, data[at + 2] as number);
  }
  return { width, height, channels, data: result };
}

/** Brightness (ITU-R BT.601), which of grey is the grey itself. */
function luma(red: number, green: number, blue: number): number {
  return Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
}

/** The image library, loaded when the first image is read. */
async function library() {
  try {
    return (await import('sharp')).default;
  } catch (error) {
    throw new ModelError(
      `images cannot be read here, for the package sharp does not load: ${messageOf(error).split('\n')[0]}; npm install --include=optional sharp brings it`,
      {},
      { cause: error },
    );
  }
}

const NO_IMAGE = 'is not an image that can be read (PNG, JPEG, WebP, GIF, TIFF, AVIF)';

function fileOf(source: string | Uint8Array): string | undefined {
  return typeof source === 'string' ? source : undefined;
}

function headOf(source: string | Uint8Array): Uint8Array {
  if (typeof source !== 'string') return source;
  using file = new FileSource(source);
  return file.read(0, Math.min(12, file.length));
}

function whatIsWrong(error: unknown): string {
  const message = messageOf(error);
  if (/^input file is missing/i.test(message)) return 'no such file';
  if (/unsupported image format/i.test(message)) return NO_IMAGE;
  if (/pixel limit/i.test(message)) return 'has more pixels than are read (268 million)';
  return `the image is damaged: ${message.split('\n')[0]}`;
}
