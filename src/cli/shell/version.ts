import { readFileSync } from 'node:fs';
import { packageFile } from '../../runtime/package-file.js';

/** Of this package. */
export function version(): string {
  const { version: text } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    version: string;
  };
  return text;
}
