import ts from 'typescript';
import { expect, it } from 'vitest';
import { CLIENT_SCRIPT } from '../../../src/report/html/client/index.js';

it('is a script', () => {
  expect(() => new Function(CLIENT_SCRIPT)).not.toThrow();
  expect(CLIENT_SCRIPT).not.toMatch(/<\/script|<!--|innerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});

it('has the types that its comments say, in strict mode', () => {
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
      ? ts.createSourceFile(file, CLIENT_SCRIPT, languageVersion, true, ts.ScriptKind.JS)
      : getSourceFile(file, languageVersion);
  const program = ts.createProgram([name], options, host);
  const source = program.getSourceFile(name);
  const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
    ({ messageText, start = 0 }) =>
      `${source?.getLineAndCharacterOfPosition(start).line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
  );
  expect(found).toEqual([]);
}, 30_000);
