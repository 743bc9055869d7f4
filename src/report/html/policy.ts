import { createHash } from 'node:crypto';

/** How a content security policy names what a page carries. */
export function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
