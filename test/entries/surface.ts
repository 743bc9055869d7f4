import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The sources of the entries by what they are imported as. */
export const ENTRIES: ReadonlyMap<string, string> = new Map([
  ['onnx-overparam', join(ROOT, 'src/index.ts')],
  ...readdirSync(join(ROOT, 'src/entries')).map(
    (file) => [`onnx-overparam/${basename(file, '.ts')}`, join(ROOT, 'src/entries', file)] as const,
  ),
]);

const { options: COMPILER } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => readFileSync(path, 'utf8')).config,
  ts.sys,
  ROOT,
);

/** A program of the entries, and of further files by their texts, which import the entries by name. */
export function programOf(files: ReadonlyMap<string, string> = new Map()): ts.Program {
  const options: ts.CompilerOptions = {
    ...COMPILER,
    noEmit: true,
    paths: Object.fromEntries([...ENTRIES].map(([name, path]) => [name, [path]])),
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readFile(path);
  host.getSourceFile = (path, version, ...rest) => {
    const text = files.get(path);
    return text === undefined
      ? getSourceFile(path, version, ...rest)
      : ts.createSourceFile(path, text, version);
  };
  return ts.createProgram([...ENTRIES.values(), ...files.keys()], options, host);
}

/** What an entry exports: names and what they stand for. */
export function exportsOf(program: ts.Program, entry: string): Map<string, ts.Symbol> {
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(ENTRIES.get(entry) ?? '');
  const module = file && checker.getSymbolAtLocation(file);
  const symbols = module ? checker.getExportsOfModule(module) : [];
  return new Map(
    symbols.map((symbol) => [
      symbol.name,
      symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
    ]),
  );
}

/** What an entry exports that stands in a program that runs: not what it exports as a type alone. */
export function valuesOf(program: ts.Program, entry: string): ts.Symbol[] {
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(ENTRIES.get(entry) ?? '');
  const module = file && checker.getSymbolAtLocation(file);
  return (module ? checker.getExportsOfModule(module) : [])
    .filter(({ declarations = [] }) => !declarations.some(ts.isTypeOnlyImportOrExportDeclaration))
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
    .filter(isValue);
}

export function isValue(symbol: ts.Symbol): boolean {
  return (symbol.flags & ts.SymbolFlags.Value) !== 0;
}

/** The types of this project that the declaration of something public names. */
export function typesNamedBy(program: ts.Program, symbol: ts.Symbol): Set<ts.Symbol> {
  const checker = program.getTypeChecker();
  const found = new Set<ts.Symbol>();
  const own = (type: ts.Symbol | undefined): void => {
    const real = type && type.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(type) : type;
    const [declaration] = real?.declarations ?? [];
    if (real === undefined || declaration === undefined || ts.isTypeParameterDeclaration(declaration)) return;
    const { fileName } = declaration.getSourceFile();
    const isTopLevel = ts.isSourceFile(declaration.parent) || ts.isVariableDeclaration(declaration);
    if (fileName.startsWith(join(ROOT, 'src')) && isTopLevel) found.add(real);
  };
  const visitType = (node: ts.Node): void => {
    if (ts.isTypeReferenceNode(node)) own(checker.getSymbolAtLocation(node.typeName));
    else if (ts.isExpressionWithTypeArguments(node)) own(checker.getSymbolAtLocation(node.expression));
    ts.forEachChild(node, visitType);
  };
  /** Of what has no type written: that which the compiler infers. */
  const visitInferred = (type: ts.Type): void => {
    const seen = new Set<ts.Type>();
    const visit = (one: ts.Type): void => {
      if (seen.has(one)) return;
      seen.add(one);
      if (one.aliasSymbol) {
        own(one.aliasSymbol);
        return;
      }
      if (one.isUnionOrIntersection()) for (const part of one.types) visit(part);
      const { symbol: named } = one;
      if (named && named.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class)) own(named);
      for (const argument of checker.getTypeArguments(one as ts.TypeReference) ?? []) visit(argument);
    };
    visit(type);
  };
  const visitSignature = (node: ts.SignatureDeclaration): void => {
    for (const parameter of node.parameters) {
      if (parameter.type) visitType(parameter.type);
      else visitInferred(checker.getTypeAtLocation(parameter));
    }
    for (const parameter of node.typeParameters ?? []) visitType(parameter);
    if (node.type) visitType(node.type);
    else if (!ts.isConstructorDeclaration(node)) {
      const signature = checker.getSignatureFromDeclaration(node);
      if (signature) visitInferred(checker.getReturnTypeOfSignature(signature));
    }
  };
  for (const declaration of symbol.declarations ?? []) {
    if (ts.isFunctionDeclaration(declaration)) visitSignature(declaration);
    else if (ts.isVariableDeclaration(declaration)) {
      if (declaration.type) visitType(declaration.type);
      else visitInferred(checker.getTypeAtLocation(declaration));
    } else if (ts.isClassDeclaration(declaration)) {
      for (const clause of declaration.heritageClauses ?? []) visitType(clause);
      for (const member of declaration.members) {
        if (member.name && ts.isPrivateIdentifier(member.name)) continue;
        // The declarations that are published leave these out.
        if (ts.getJSDocTags(member).some(({ tagName }) => tagName.text === 'internal')) continue;
        if (
          ts.canHaveModifiers(member) &&
          ts.getModifiers(member)?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword)
        )
          continue;
        if (ts.isFunctionLike(member)) visitSignature(member);
        else if (ts.isPropertyDeclaration(member) && member.type) visitType(member.type);
      }
    } else visitType(declaration);
  }
  found.delete(symbol);
  return found;
}

/** The examples of what is exported, and of the entries themselves, by the place that they stand in. */
export function examplesOf(program: ts.Program): Map<string, string> {
  const examples = new Map<string, string>();
  const add = (place: string, node: ts.Node): void => {
    for (const [index, tag] of ts.getJSDocTags(node).entries()) {
      if (tag.tagName.text !== 'example') continue;
      examples.set(`${place}#${index}`, ts.getTextOfJSDocComment(tag.comment) ?? '');
    }
  };
  for (const [entry, path] of ENTRIES) {
    const [, head] = /@example\n([^@]*)\n \* @module/.exec(readFileSync(path, 'utf8')) ?? [];
    if (head !== undefined) examples.set(`${entry}#`, head.replaceAll(/^ \* ?/gm, ''));
    for (const [name, symbol] of exportsOf(program, entry)) {
      for (const declaration of symbol.declarations ?? []) {
        const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
        add(`${entry}:${name}`, node);
        if (ts.isClassDeclaration(declaration) || ts.isInterfaceDeclaration(declaration))
          for (const member of declaration.members) add(`${entry}:${name}.${member.name?.getText()}`, member);
      }
    }
  }
  return examples;
}
