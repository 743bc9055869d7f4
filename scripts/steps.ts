/** What the demos share: headings, commands as a user would type them, tables. */
import { spawnSync } from 'node:child_process';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Where the demos write. */
export const OUT = join(ROOT, 'demo-out');

const CLI = join(ROOT, 'dist/bin/onnx-overparam.js');

export function heading(text: string): void {
  console.log(`\n── ${text} ${'─'.repeat(Math.max(0, 96 - text.length))}\n`);
}

/** Runs the command line from the root of the project; ends the demo where it fails. */
export function command(...args: readonly string[]): void {
  const shown = args.map((arg) => (arg.startsWith(ROOT) ? relative(ROOT, arg) : arg));
  console.log(`$ npx onnx-overparam ${shown.join(' ')}\n`);
  const { status } = spawnSync(process.execPath, [CLI, ...shown], { stdio: 'inherit', cwd: ROOT });
  if (status !== 0) process.exit(status ?? 1);
}

/** Prints rows, the first of them the header. */
export function table(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  for (const [index, row] of rows.entries()) {
    console.log(
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  '),
    );
    if (index === 0) console.log(widths.map((width) => '─'.repeat(width)).join('  '));
  }
}
