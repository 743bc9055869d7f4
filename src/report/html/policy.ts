import { sha256 } from '../../graph/io/digest.js';

/** How a content security policy names what a page carries. */
export function hashOf(text: string): string {
  return `sha256-${sha256().update(text).digest('base64')}`;
}
