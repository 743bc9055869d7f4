import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { programOf, ROOT } from '../entries/surface.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('extend-docs');
const text = readFileSync(join(ROOT, 'docs/extend.md'), 'utf8');
const programs = text
  .split(/^## /m)
  .flatMap((section) =>
    [...section.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(
      ([, code = '']) => [section.split('\n')[0] ?? '', code] as const,
    ),
  );

describe('the programs of docs/extend.md', () => {
  const path = (index: number): string => join(ROOT, `extend-${index}.ts`);
  const program = programOf(new Map(programs.map(([, code], index) => [path(index), code])));

  test('are one for each kind', () => expect(programs).toHaveLength(6));

  test.each(programs.map(([name], index) => [name, index] as const))('%s: compiles', (_, index) => {
    const source = program.getSourceFile(path(index));
    expect(source).toBeDefined();
    const problems = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    expect(problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))).toEqual([]);
  });

  test.each(programs)('%s: runs', { timeout: 60_000 }, async (name, code) => {
    const { code: script } = await transform(code, { loader: 'ts', target: 'node20', format: 'esm' });
    const file = join(directory, `${name.replaceAll(' ', '-')}.mjs`);
    const linked = script.replaceAll(/from "onnx-overparam(?:\/(\w+))?"/g, (_, entry = 'index') => {
      return `from ${JSON.stringify(pathToFileURL(join(ROOT, `dist/lib/${entry}.js`)).href)}`;
    });
    writeFileSync(file, linked);
    const { stderr } = await promisify(execFile)(process.execPath, [file]);
    expect(stderr).toBe('');
  });
});
