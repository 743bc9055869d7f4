import type { Model } from '../../graph/index.js';
import type { Checkpoint } from '../../runtime/checkpoint/index.js';
import { mayBeCheckpoint } from '../../runtime/checkpoint/recognize.js';
import { loadModel, nameOf, warn } from './files.js';
import type { Io } from './io.js';
import { keepApart } from './outputs.js';

/**
 * Opens what weights are to be read from: an ONNX model, which is checked, or a checkpoint: safetensors, a Hugging Face folder, a
 * PyTorch ZIP file, an adapter, `https://…` or `hf://organization/name`.
 *
 * HF_ENDPOINT is where hf:// leads, and HF_TOKEN is sent there and nowhere else.
 *
 * @throws ModelError when it cannot be read or is not valid
 */
export async function loadSource(
  path: string,
  io: Io,
  options: Parameters<typeof loadModel>[2],
): Promise<Model | Checkpoint> {
  if (path === '-' || !mayBeCheckpoint(path)) return loadModel(path, io, options);
  const { openCheckpoint } = await import('../../runtime/checkpoint/open.js');
  const source = await openCheckpoint(path, { endpoint: io.env.HF_ENDPOINT, token: io.env.HF_TOKEN });
  if ('onnx' in source) return loadModel(source.onnx, io, options);
  keepApart(options.outputs ?? [], source.files, io);
  for (const note of options.quiet ? [] : source.notes) await warn(`${nameOf(path)}: ${note}`, io);
  return source;
}
