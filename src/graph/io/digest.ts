import type { Hash } from 'node:crypto';

/**
 * SHA-256, and random names. Node's cryptography is loaded when it is first used: that takes 9 ms, more than the rest of a command such
 * as `--version` does.
 */
export function sha256(): Hash {
  return crypto().createHash('sha256');
}

/** As many random bytes, in hexadecimal. */
export function randomHex(bytes: number): string {
  return crypto().randomBytes(bytes).toString('hex');
}

function crypto(): typeof import('node:crypto') {
  return process.getBuiltinModule('node:crypto');
}
