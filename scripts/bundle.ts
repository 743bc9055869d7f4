/**
 * Bundles the scripts of the pages and of threads, the library (bundle-library.ts) and the command line (bundle-cli.ts).
 * `npm run build:bundles`; the tests do it too, so that they run what is shipped.
 */
import { fileURLToPath } from 'node:url';
import { bundleBrowser } from './bundle-browser.js';
import { bundleCli } from './bundle-cli.js';
import { bundleLibrary } from './bundle-library.js';
import { bundlePage } from './bundle-page.js';
import { bundleThreads } from './bundle-threads.js';

/** What vitest calls before the tests. */
export async function setup(): Promise<void> {
  const [ofPage] = await Promise.all([bundlePage(), bundleThreads()]);
  await Promise.all([bundleCli(ofPage), bundleLibrary(ofPage), bundleBrowser()]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setup();
