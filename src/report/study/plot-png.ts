/** Pixels of a picture to one of the plot. */
const DENSITY = 2;

/** A plot as PNG, of twice the size in pixels. */
export async function plotPng(svg: string): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp');
  return await sharp(Buffer.from(svg), { density: 72 * DENSITY })
    .png({ compressionLevel: 9 })
    .toBuffer();
}
