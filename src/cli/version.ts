import { readFileSync } from 'node:fs';

/** Of this package. */
export function version(): string {
  const { version: text } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as {
    version: string;
  };
  return text;
}
