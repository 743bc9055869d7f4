/** Pixels as bytes, by row, column and channel. */
export interface Bytes {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Uint8Array;
}

/**
 * Enlarges an image: bilinear, with pixels as areas (their centres at 0.5, 1.5, …) and its edge repeated outwards, as Pillow
 * and ONNX's Resize (half_pixel) do. libvips puts the centres at whole numbers and so moves the picture by half a pixel.
 *
 * @param width at least that of the image; the same of height
 */
export function enlarge(image: Bytes, width: number, height: number): Bytes {
  const { channels } = image;
  const columns = taps(image.width, width);
  const rows = taps(image.height, height);
  const wide = new Float32Array(image.height * width * channels);
  for (let row = 0, to = 0; row < image.height; row += 1) {
    const from = row * image.width * channels;
    for (let column = 0; column < width; column += 1) {
      const first = from + (columns.first[column] as number) * channels;
      const second = from + (columns.second[column] as number) * channels;
      const share = columns.share[column] as number;
      for (let channel = 0; channel < channels; channel += 1, to += 1) {
        const value = image.data[first + channel] as number;
        wide[to] = value + share * ((image.data[second + channel] as number) - value);
      }
    }
  }
  const data = new Uint8Array(height * width * channels);
  const stride = width * channels;
  for (let row = 0, to = 0; row < height; row += 1) {
    const first = (rows.first[row] as number) * stride;
    const second = (rows.second[row] as number) * stride;
    const share = rows.share[row] as number;
    for (let at = 0; at < stride; at += 1, to += 1) {
      const value = wide[first + at] as number;
      data[to] = value + share * ((wide[second + at] as number) - value) + 0.5;
    }
  }
  return { width, height, channels, data };
}

/** Between which two of the pixels each new one lies, and how near to the second. */
function taps(from: number, to: number): { first: Int32Array; second: Int32Array; share: Float64Array } {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const share = new Float64Array(to);
  for (let at = 0; at < to; at += 1) {
    const centre = Math.min(from - 1, Math.max(0, ((at + 0.5) * from) / to - 0.5));
    first[at] = Math.floor(centre);
    second[at] = Math.min(from - 1, Math.floor(centre) + 1);
    share[at] = centre - Math.floor(centre);
  }
  return { first, second, share };
}
