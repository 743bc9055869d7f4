import ts from 'typescript';
import { expect, it } from 'vitest';
import { CLIENT_SCRIPT, TRAINING_SCRIPT } from '../../../src/report/html/client/index.js';

const SCRIPTS = [
  ['of the rank report', CLIENT_SCRIPT],
  ['of a training', TRAINING_SCRIPT],
] as const;

it.each(SCRIPTS)('the page %s has a script', (_, script) => {
  expect(() => new Function(script)).not.toThrow();
  expect(script).not.toMatch(/<\/script|<!--|innerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});

it.each(SCRIPTS)(
  'the script %s has the types that its comments say, in strict mode',
  (_, script) => {
    const name = '/client.js';
    const options: ts.CompilerOptions = {
      allowJs: true,
      checkJs: true,
      noEmit: true,
      strict: true,
      noUncheckedIndexedAccess: true,
      noUnusedLocals: true,
      skipLibCheck: true,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
      types: [],
    };
    const host = ts.createCompilerHost(options);
    const { getSourceFile, fileExists } = host;
    host.fileExists = (file) => file === name || fileExists(file);
    host.getSourceFile = (file, languageVersion) =>
      file === name
        ? ts.createSourceFile(file, script, languageVersion, true, ts.ScriptKind.JS)
        : getSourceFile(file, languageVersion);
    const program = ts.createProgram([name], options, host);
    const source = program.getSourceFile(name);
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      ({ messageText, start = 0 }) =>
        `${source?.getLineAndCharacterOfPosition(start).line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
    );
    expect(found).toEqual([]);
  },
  30_000,
);
