/** What of Node's modules has a meaning where there are no files; scripts/bundle-browser.ts adds functions that throw for all the rest. */

/** A function of Node that works with files. */
export function missing(name: string): (...given: unknown[]) => never {
  return () => {
    throw new Error(
      `${name} works with files, which there are none of here; read models from bytes, write them with modelToBytes`,
    );
  };
}

export const constants = {};
export const promisify = (call: unknown): unknown => call;
export const hostname = (): string => '';
export const sep = '/';
export const isAbsolute = (path: string): boolean => path.startsWith('/');
export const join = (...parts: string[]): string => parts.filter(Boolean).join('/');
export const resolve = join;
export const basename = (path: string): string => path.split('/').at(-1) ?? '';
export const dirname = (path: string): string => path.split('/').slice(0, -1).join('/') || '.';
