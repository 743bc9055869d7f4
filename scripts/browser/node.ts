/** What stands in for Node's modules where there are no files. */

function unavailable(name: string): never {
  throw new Error(
    `${name} works with files, which there are none of here; read models from bytes, write them with modelToBytes`,
  );
}

const missing =
  (name: string) =>
  (..._arguments: unknown[]): never =>
    unavailable(name);

export const [closeSync, openSync, readSync, writeSync, fstatSync, lstatSync, unlinkSync] = [
  'closeSync',
  'openSync',
  'readSync',
  'writeSync',
  'fstatSync',
  'lstatSync',
  'unlinkSync',
].map(missing) as ReturnType<typeof missing>[];
export const [access, link, open, rename, rm, stat, readdir, readFile, realpath, write] = [
  'access',
  'link',
  'open',
  'rename',
  'rm',
  'stat',
  'readdir',
  'readFile',
  'realpath',
  'write',
].map(missing) as ReturnType<typeof missing>[];
export const statSync = missing('statSync');
export const realpathSync = missing('realpathSync');
export const constants = {};
export const promisify = (call: unknown): unknown => call;
export const tmpdir = missing('tmpdir');
export const hostname = (): string => '';
export const sep = '/';
export const isAbsolute = (path: string): boolean => path.startsWith('/');
export const join = (...parts: string[]): string => parts.filter(Boolean).join('/');
export const resolve = join;
export const basename = (path: string): string => path.split('/').at(-1) ?? '';
export const dirname = (path: string): string => path.split('/').slice(0, -1).join('/') || '.';
