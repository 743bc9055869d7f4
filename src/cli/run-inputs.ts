import { open, stat } from 'node:fs/promises';
import { described, type OptionDescriptors } from '../graph/option-descriptors.js';
import type { TensorFile } from '../runtime/io/files.js';
import type { ImageInput, ImageInputOptions } from '../runtime/io/image-input.js';
import { IMAGE_OPTIONS, NORMALIZE_OPTION, type NormalizationName } from '../runtime/io/image-options.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';

export const INPUT_OPTION = {
  input: { kind: 'texts', alias: 'i', help: 'inputs: file.npz, file.json, name=file.npy, name=image.jpg' },
} as const satisfies OptionDescriptors;

/** How images become tensors. */
export const IMAGE_ARGUMENTS = { normalize: NORMALIZE_OPTION, ...IMAGE_OPTIONS };
export const IMAGE_KEYS = Object.keys(IMAGE_ARGUMENTS) as (keyof typeof IMAGE_ARGUMENTS)[];

/** How images become tensors, the normalization by its name. */
export type ImageChoice = ImageInputOptions & { readonly normalize?: NormalizationName | undefined };

/** What the options for images ask for, or undefined where none is given. */
export function imageOptionsOf(args: Given<typeof IMAGE_ARGUMENTS>): ImageChoice | undefined {
  const given = described(IMAGE_ARGUMENTS, args);
  if (Object.values(given).every((value) => value === undefined)) return undefined;
  if (given.normalize !== undefined && (given.mean !== undefined || given.std !== undefined)) {
    throw new UsageError('--normalize or --mean and --std, not both');
  }
  return given;
}

/** An input as the command line names it: a file, and for which input. */
interface NamedFile {
  readonly name: string | undefined;
  readonly file: string;
}

/** What readInputs found: tensors, and what was done to make them. */
export interface GivenInputs {
  readonly given: readonly (NamedFile & { readonly content: TensorFile })[];
  readonly notes: readonly string[];
}

/**
 * Reads the files of `--input`. Several images of one input are a batch.
 *
 * @param inputs those of the model
 */
export async function readInputs(
  texts: readonly string[],
  inputs: readonly ImageInput[],
  choice: ImageChoice | undefined,
): Promise<GivenInputs> {
  const { readTensorFile } = await import('../runtime/io/files.js');
  const files = await Promise.all(texts.map(namedFile));
  const areImages = await Promise.all(files.map(({ file }) => isImageFile(file)));
  if (choice !== undefined && !areImages.includes(true)) {
    throw new UsageError(
      '--normalize, --mean, --std, --scale, --layout and --fit are for images, and none is given',
    );
  }
  const given: (NamedFile & { readonly content: TensorFile })[] = [];
  const images = new Map<string | undefined, string[]>();
  for (const [index, { name, file }] of files.entries()) {
    if (areImages[index]) images.set(name, [...(images.get(name) ?? []), file]);
    else given.push({ name, file, content: await readTensorFile(file) });
  }
  const notes: string[] = [];
  for (const [name, group] of images) {
    const { input, tensor, note } = await readImages(group, name, inputs, choice ?? {});
    given.push({ name: input, file: group[0] ?? '', content: { single: tensor } });
    notes.push(note);
  }
  return { given, notes };
}

/** The file of an `--input`, and the input that it is for. */
export async function namedFile(text: string): Promise<NamedFile> {
  const isThere = async (file: string): Promise<boolean> =>
    (await stat(file).catch(() => undefined)) !== undefined;
  // A file may have '=' in its name, an input too.
  for (let at = text.indexOf('='); at > 0; at = text.indexOf('=', at + 1)) {
    const file = text.slice(at + 1);
    if (await isThere(file)) return { name: text.slice(0, at), file };
  }
  const at = (await isThere(text)) ? -1 : text.indexOf('=');
  return { name: at > 0 ? text.slice(0, at) : undefined, file: text.slice(at + 1) };
}

async function isImageFile(file: string): Promise<boolean> {
  const { isImage } = await import('../runtime/io/image.js');
  try {
    // To open a pipe is to wait for who writes into it.
    if (!(await stat(file)).isFile()) return false;
    await using handle = await open(file);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(16), 0, 16, 0);
    return isImage(buffer.subarray(0, bytesRead));
  } catch {
    // Whoever reads it says what is wrong.
    return false;
  }
}

async function readImages(
  files: readonly string[],
  name: string | undefined,
  inputs: readonly ImageInput[],
  { normalize, ...options }: ImageChoice,
) {
  const { ModelError } = await import('../graph/index.js');
  const { imageTensor } = await import('../runtime/io/image-input.js');
  const { NORMALIZATIONS } = await import('../runtime/io/pixels.js');
  const names = inputs.map((input) => `'${input.name}'`).join(', ') || '(none)';
  const input =
    name === undefined && inputs.length === 1 ? inputs[0] : inputs.find((own) => own.name === name);
  if (input === undefined) {
    const what =
      name === undefined
        ? `which input is it for? Pass --input <name>=${files[0]}; there are ${names}`
        : `the model has no input '${name}'; it has ${names}`;
    throw new ModelError(what, { file: files[0] });
  }
  const normalization = normalize === undefined ? {} : NORMALIZATIONS[normalize];
  const tensor = await imageTensor(files, input, { ...options, ...normalization });
  const shown = files.length === 1 ? files[0] : `${files.length} images`;
  return {
    input: input.name,
    tensor,
    note: `input '${input.name}': ${shown} as ${tensor.type}[${tensor.shape.join(', ')}], ${valuesText(tensor.type, normalize, options)}`,
  };
}

function valuesText(
  type: string,
  normalize: NormalizationName | undefined,
  options: ImageInputOptions,
): string {
  if (!type.includes('float')) return 'bytes as they are';
  const { scale, mean, std } = options;
  if (normalize !== undefined) return `normalized as for ${normalize}`;
  if (mean !== undefined || std !== undefined) {
    const list = (value: number | readonly number[] | undefined, none: string): string =>
      value === undefined ? none : [value].flat().join(', ');
    return `normalized by mean ${list(mean, '0')} and deviation ${list(std, '1')}`;
  }
  if (scale !== undefined) return `bytes times ${scale}`;
  return 'values of 0 to 1; see --normalize, --mean and --std';
}
