import type { FitEnum, Sharp } from 'sharp';
import { ModelError, messageOf } from '../../graph/index.js';

/** How an image of other proportions comes to a size: cut at the centre, padded with black, or distorted. */
export const IMAGE_FITS = ['cover', 'contain', 'fill'] as const satisfies readonly (keyof FitEnum)[];
export type ImageFit = (typeof IMAGE_FITS)[number];

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
  const { width, height, fit = 'cover', channels } = options;
  try {
    const sharp = await library();
    // Damaged data would otherwise become grey areas.
    let image = sharp(source, { failOn: 'error' }).autoOrient().removeAlpha().toColourspace('srgb');
    if (width !== undefined && height !== undefined) image = resized(image, width, height, fit);
    const { data, info } = await image.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    const decoded = { width: info.width, height: info.height, channels: info.channels, data };
    return withChannels(decoded, channels ?? (info.channels === 1 ? 1 : 3));
  } catch (error) {
    if (error instanceof ModelError) throw error;
    const where = { file: typeof source === 'string' ? source : undefined };
    throw new ModelError(whatIsWrong(error), where, { cause: error });
  }
}

/**
 * Resizes pixels that are in memory, as readImage does.
 *
 * @param channels how many values a pixel has, side by side
 */
export async function resizePixels(
  data: Uint8Array,
  from: { readonly width: number; readonly height: number; readonly channels: 1 | 2 | 3 | 4 },
  to: { readonly width: number; readonly height: number; readonly fit?: ImageFit | undefined },
): Promise<Uint8Array> {
  const sharp = await library();
  const image = sharp(data, { raw: { ...from } });
  const result = await resized(image, to.width, to.height, to.fit ?? 'cover')
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (result.info.channels !== from.channels) {
    throw new ModelError(`resizing made ${result.info.channels} channels of ${from.channels}`);
  }
  return result.data;
}

function resized(image: Sharp, width: number, height: number, fit: ImageFit): Sharp {
  return image.resize(width, height, { fit, kernel: 'linear', background: '#000' });
}

function withChannels(
  { width, height, channels: has, data }: Omit<Image, 'channels'> & { readonly channels: number },
  channels: 1 | 3,
): Image {
  if (has === channels) return { width, height, channels, data };
  const pixels = width * height;
  const result = new Uint8Array(pixels * channels);
  if (has === 1) {
    for (let pixel = 0; pixel < pixels; pixel += 1)
      result.fill(data[pixel] as number, 3 * pixel, 3 * pixel + 3);
  } else {
    for (let pixel = 0; pixel < pixels; pixel += 1) {
      const at = has * pixel;
      const [red, green, blue] = [data[at] as number, data[at + 1] as number, data[at + 2] as number];
      result[pixel] = channels === 1 ? Math.round(0.299 * red + 0.587 * green + 0.114 * blue) : red;
    }
  }
  return { width, height, channels, data: result };
}

/** The image library, loaded when the first image is read. */
async function library() {
  try {
    return (await import('sharp')).default;
  } catch (error) {
    throw new ModelError(
      `images can not be read here, for the package sharp does not load: ${messageOf(error).split('\n')[0]}; npm install --include=optional sharp brings it`,
      {},
      { cause: error },
    );
  }
}

function whatIsWrong(error: unknown): string {
  const message = messageOf(error);
  if (/missing/i.test(message) && /file/i.test(message)) return 'no such file';
  if (/unsupported image format/i.test(message))
    return 'is no image that can be read (PNG, JPEG, WebP, GIF, TIFF)';
  if (/pixel limit/i.test(message)) return 'has more pixels than are read (268 million)';
  return `the image is damaged: ${message.split('\n')[0]}`;
}
