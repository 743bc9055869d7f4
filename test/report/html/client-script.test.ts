import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { RANK_REPORT_SCRIPT, TRAINING_SCRIPT } from '../../../src/report/html/page-scripts.js';

const SCRIPTS = [
  ['of the rank report', RANK_REPORT_SCRIPT],
  ['of a training', TRAINING_SCRIPT],
] as const;

it.each(SCRIPTS)('the page %s has a script', (_, script) => {
  expect(() => new Function(script)).not.toThrow();
  expect(script).not.toMatch(/<\/script|<!--|innerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});

it.each(SCRIPTS)('the script %s is small and has the notices of the packages in it', (_, script) => {
  expect(Buffer.byteLength(script)).toBeLessThan(80_000);
  const notice = /^\/\*!.*?\*\//s.exec(script)?.[0] ?? '';
  for (const name of ['d3-array', 'd3-color', 'd3-format', 'd3-interpolate', 'd3-scale']) {
    expect(notice).toMatch(new RegExp(`${name} [\\d.]+: Copyright .* Mike Bostock`));
  }
  expect(notice).toContain('this permission notice appear in all copies');
});

it('the client has its types, with the DOM and without Node', () => {
  const path = fileURLToPath(new URL('../../../src/report/html/client/tsconfig.json', import.meta.url));
  const { config } = ts.readConfigFile(path, ts.sys.readFile) as { config: unknown };
  const { options, fileNames, errors } = ts.parseJsonConfigFileContent(config, ts.sys, dirname(path));
  expect(errors).toEqual([]);
  expect(options).toMatchObject({ strict: true, noUncheckedIndexedAccess: true, types: [] });
  expect(fileNames.length).toBeGreaterThan(10);
  const found = ts
    .getPreEmitDiagnostics(ts.createProgram(fileNames, options))
    .map(
      ({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
    );
  expect(found).toEqual([]);
}, 60_000);
