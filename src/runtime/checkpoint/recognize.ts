import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** Bytes 4 to 8 of an adapter of onnxruntime. */
export const ADAPTER_IDENTIFIER = 'TORT';

/**
 * Whether a path may lead to a checkpoint: a URL, a folder, or a file that holds tensors and no ONNX model, by its name or its first
 * bytes. Light: what reads checkpoints is loaded for them alone.
 */
export function mayBeCheckpoint(path: string): boolean {
  return /^(https?|hf):\/\//i.test(path) || isFolder(path) || isCheckpointFile(path);
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Whether a file that is there holds tensors and no ONNX model. */
export function isCheckpointFile(path: string): boolean {
  if (/\.safetensors(\.index\.json)?$/i.test(path)) return true;
  // What is read from a pipe is gone.
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
  const head = Buffer.alloc(9);
  const descriptor = openSync(path, 'r');
  try {
    if (readSync(descriptor, head, 0, head.length, 0) < head.length) return false;
  } finally {
    closeSync(descriptor);
  }
  const text = head.toString('latin1');
  return (
    text.startsWith('PK\x03\x04') ||
    text.startsWith(ADAPTER_IDENTIFIER, 4) ||
    (path.endsWith('.json') && /^\s*\{/.test(text))
  );
}
