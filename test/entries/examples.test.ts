import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { ENTRIES, examplesOf, exportsOf, programOf, valuesOf } from './surface.js';

/** What examples take for granted, of which type. Exported names are imported from their entries. */
const PRELUDE: Readonly<Record<string, string>> = {
  model: `declare const model: import('onnx-overparam').Model;`,
  a: `declare const a: import('onnx-overparam').Model;`,
  b: `declare const b: import('onnx-overparam').Model;`,
  original: `declare const original: import('onnx-overparam').Model;`,
  rewritten: `declare const rewritten: import('onnx-overparam').Model;`,
  before: `declare const before: import('onnx-overparam').RankReport;`,
  after: `declare const after: import('onnx-overparam').RankReport;`,
  teacher: `declare const teacher: import('onnx-overparam').Model;`,
  graph: `declare const graph: import('onnx-overparam/graph').Graph;`,
  conv: `declare const conv: import('onnx-overparam/graph').Node;`,
  weight: `declare const weight: import('onnx-overparam/graph').Tensor;`,
  report: `declare const report: import('onnx-overparam').RankReport;`,
  quality: `declare const quality: import('onnx-overparam').QualityReport;`,
  row: `declare const row: import('onnx-overparam').RankReport['rows'][number];`,
  dataset: `declare const dataset: import('onnx-overparam').Dataset;`,
  data: `declare const data: import('onnx-overparam').Dataset;`,
  session: `declare const session: import('onnx-overparam/runtime').Session;`,
  engine: `declare const engine: Awaited<ReturnType<typeof import('onnx-overparam/training').openEngine>>;`,
  chunk: `declare const chunk: Parameters<Awaited<ReturnType<typeof import('onnx-overparam/training').openEngine>>['run']>[0];`,
  weights: 'declare const weights: readonly string[];',
  x: 'declare const x: Float32Array;',
  y: 'declare const y: BigInt64Array;',
  readFile: `import { readFile } from 'node:fs/promises';`,
  writeFile: `import { writeFile } from 'node:fs/promises';`,
};

/** An example as a module: with imports of what it names of the entries, and what it takes for granted. */
function moduleOf(example: string, homes: ReadonlyMap<string, { entry: string; isType: boolean }>): string {
  const code = example.replace(/^```\w*\n|```$/gm, '');
  const bare = code.replace(/'[^']*'|"[^"]*"|\/\/.*$/gm, '');
  const source = ts.createSourceFile('example.ts', code, ts.ScriptTarget.Latest, true);
  const own = new Set<string>();
  const visit = (node: ts.Node): void => {
    const isDeclaration =
      ts.isVariableDeclaration(node) ||
      ts.isBindingElement(node) ||
      ts.isImportSpecifier(node) ||
      ts.isParameter(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isClassDeclaration(node);
    if (isDeclaration && node.name && ts.isIdentifier(node.name)) own.add(node.name.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  const named = new Set(bare.match(/(?<!(?<!\.)\.|[\w$])[A-Za-z_$][\w$]*/g) ?? []);
  const lines = [...named]
    .filter((name) => !own.has(name))
    .flatMap((name) => {
      const home = homes.get(name);
      if (home) return [`import ${home.isType ? 'type ' : ''}{ ${name} } from '${home.entry}';`];
      return PRELUDE[name] ? [PRELUDE[name]] : [];
    });
  return `${lines.join('\n')}\nexport {};\n${code}\n`;
}

describe('examples in docstrings', () => {
  const base = programOf();
  const checker = base.getTypeChecker();
  const homes = new Map<string, { entry: string; isType: boolean }>();
  for (const [entry] of ENTRIES) {
    for (const [name, { flags }] of exportsOf(base, entry)) {
      if (!homes.has(name)) homes.set(name, { entry, isType: (flags & ts.SymbolFlags.Value) === 0 });
    }
  }
  const examples = examplesOf(base);
  const places = new Map(
    [...examples.keys()].map((place, index) => [`${process.cwd()}/example-${index}.ts`, place]),
  );
  const files = new Map(
    [...places].map(([path, place]) => [path, moduleOf(examples.get(place) ?? '', homes)]),
  );
  const program = programOf(files);

  // Errors are caught, not made; a class that is exported as a type alone comes from a function, which has the example.
  const isShown = (symbol: ts.Symbol): boolean =>
    (symbol.flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Class)) !== 0 && !symbol.name.endsWith('Error');

  test.each([...ENTRIES.keys()])('%s: every function and class has one', (entry) => {
    const without = [...valuesOf(base, entry)].filter(
      (symbol) => isShown(symbol) && !symbol.getJsDocTags(checker).some(({ name }) => name === 'example'),
    );
    expect(without.map(({ name }) => name)).toEqual([]);
  });

  test.each([...ENTRIES.keys()])('%s: every export says what it is', (entry) => {
    const silent = [...exportsOf(base, entry).values()].filter(
      (symbol) => symbol.getDocumentationComment(checker).length === 0,
    );
    expect(silent.map(({ name }) => name)).toEqual([]);
  });

  test.each([...places])('%s: %s compiles', (path) => {
    const source = program.getSourceFile(path);
    const problems = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    expect(problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))).toEqual([]);
  });
});
