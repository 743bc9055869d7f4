import { ModelError, messageOf } from '../errors.js';
import { createModel, tensorProtos } from '../model.js';
import { decodeMessage, toNumber } from '../proto/codec.js';
import type { ModelProto } from '../proto/schema.js';
import { bindExternal } from '../tensor/tensor.js';
import type { Model } from '../types.js';
import { ExternalFiles, externalDirectory } from './external.js';
import { takeFileForm } from './file-form.js';
import { OpenFiles } from './open-files.js';
import { bindPayloads } from './payload.js';
import { isPipe, readWhole } from './pipe.js';
import { scanMessage } from './scan.js';
import { type ByteSource, FileSource, MemorySource } from './source.js';

/** Options of readModel. */
export interface ReadOptions {
  /** Where external data is, for a model that is read from bytes. */
  readonly directory?: string;
}

/**
 * Reads a model from a file or from bytes. Weights stay where they are until they are asked for, so memory grows
 * with the graph and not with the file; the files stay open until the model is disposed of. Nothing that the file holds is lost, known or not.
 *
 * @throws ModelError when the file is missing, truncated, or not an ONNX model
 * @example
 * using model = await readModel('resnet50.onnx');
 */
export async function readModel(input: string | Uint8Array, options: ReadOptions = {}): Promise<Model> {
  const path = typeof input === 'string' ? input : undefined;
  const files = new OpenFiles();
  try {
    const source =
      typeof input !== 'string'
        ? new MemorySource(input)
        : isPipe(input)
          ? new MemorySource(await readWhole(input))
          : files.add(new FileSource(input));
    const directory = options.directory ?? (path === undefined ? undefined : externalDirectory(path));
    return createModel(
      decodeModel(source, directory, path, files),
      source instanceof FileSource ? source : undefined,
      files,
    );
  } catch (error) {
    files[Symbol.dispose]();
    if (error instanceof ModelError && error.where.file !== undefined) throw error;
    const what = error instanceof ModelError ? messageOf(error) : `not an ONNX model (${messageOf(error)})`;
    throw new ModelError(what, { file: path ?? 'model' }, { cause: error });
  }
}

function decodeModel(
  source: ByteSource,
  directory: string | undefined,
  path: string | undefined,
  openFiles: OpenFiles,
): ModelProto {
  if (source.length === 0) throw new ModelError('is empty, not an ONNX model');
  refuseOtherFormat(source);
  const { bytes, payloads } = scanMessage(source);
  const proto = decodeMessage('ModelProto', bytes);
  const files = directory === undefined ? undefined : new ExternalFiles(directory, path, openFiles);
  for (const tensor of tensorProtos(proto)) {
    bindPayloads(tensor, payloads);
    if (tensor.data_location === 1 && files !== undefined) bindExternal(tensor, () => files.source(tensor));
  }
  takeFileForm(proto);
  const irVersion = toNumber(proto.ir_version);
  if (irVersion <= 0 || proto.graph === undefined) {
    throw new ModelError(
      `not an ONNX model: it has no ${proto.graph === undefined ? 'graph' : 'ir_version'}`,
    );
  }
  if (irVersion >= 3 && (proto.opset_import ?? []).length === 0) {
    throw new ModelError(
      'it imports no operator set; the file is truncated or was written by a faulty exporter',
    );
  }
  return proto;
}

/** First bytes of files that are taken for models, at an offset, and what to do with them. */
const OTHER_FORMATS: readonly (readonly [offset: number, bytes: string, what: string])[] = [
  [
    0,
    'PK\x03\x04',
    'this is a zip archive, such as a PyTorch checkpoint (.pt) or a Keras model; export it to ONNX first',
  ],
  [
    0,
    '\x80\x02',
    'this is a Python pickle, such as an old PyTorch checkpoint (.pt); export it to ONNX first',
  ],
  [0, '\x89HDF', 'this is an HDF5 file, such as a Keras model (.h5); export it to ONNX first'],
  [4, 'TFL3', 'this is a TensorFlow Lite model; convert it to ONNX first'],
];

/** @throws ModelError for a file of another format that its first bytes tell */
function refuseOtherFormat(source: ByteSource): void {
  if (source.length < 8) return;
  const head = Buffer.from(source.read(0, 8)).toString('latin1');
  const found = OTHER_FORMATS.find(([offset, bytes]) => head.startsWith(bytes, offset));
  if (found !== undefined) throw new ModelError(`not an ONNX model: ${found[2]}`);
}
