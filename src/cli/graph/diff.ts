import { COMPARE_OPTIONS, type ModelComparison } from '../../analysis/diff/compare-models.js';
import { described, type OptionDescriptors } from '../../graph/option-descriptors.js';
import type { Document } from '../../report/text/document.js';
import { PAGE_FORMATS } from '../../report/text/render.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { answering, UsageError } from '../shell/errors.js';
import {
  formatOf,
  MODEL,
  nameOf,
  readGiven,
  refusePageOnTerminal,
  summarize,
  writeDocument,
} from '../shell/files.js';
import type { Io } from '../shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from '../shell/options.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { dateOf, version } from '../shell/version.js';

const OPTIONS = {
  ...COMPARE_OPTIONS,
  ...FILE_OPTIONS,
  output: { ...FILE_OPTIONS.output, help: 'file for the differences: .json, .csv, .md, .html, .txt' },
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly a: string; readonly b: string };

export const diffCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('a', MODEL)
      .positional('b', { type: 'string', demandOption: true, describe: 'model to compare with it' })
      .example('$0 diff a.onnx b.onnx', 'exit 0 where they are the same, 1 where they differ')
      .example('$0 diff a.onnx b.onnx --tolerance 1e-6', 'weights may differ a little')
      .example('$0 diff a.onnx b.onnx -o diff.html', 'as a page'),
  handler: (args, io) => answering(() => difference(args, io)),
};

async function difference(args: Arguments, io: Io): Promise<number> {
  if (args.a === '-' && args.b === '-')
    throw new UsageError('only one of the models can come from standard input');
  const path = args.output === '-' ? undefined : args.output;
  const format = formatOf(args.format, path, PAGE_FORMATS);
  refusePageOnTerminal(format, args.output, io, 'diff.html');
  const outputs = outputsOf({ '--output': args.output });
  keepApart(outputs, [args.a, args.b], io);
  const { assertWritable, dataFilesOf } = await import('../../graph/index.js');
  if (path !== undefined) await assertWritable(path, { overwrite: args.overwrite });
  const [a, b] = [await readGiven(args.a, io), await readGiven(args.b, io)];
  for (const model of [a, b]) keepApart(outputs, dataFilesOf(model), io);
  const { compareModels } = await import('../../analysis/diff/compare-models.js');
  const { diffDocument } = await import('../../report/graph/documents.js');
  const comparison = await compareModels(a, b, described(COMPARE_OPTIONS, args));
  const names = { a: nameOf(args.a), b: nameOf(args.b) };
  const document = diffDocument(comparison, names, args.verbose);
  const page = format === 'html' ? await withPage(document, comparison, names, io) : document;
  if (path !== undefined) await writeDocument(page, path, { ...args, format }, io);
  else await summarize(page, { ...args, ...(format === 'html' && { format }) }, io);
  return comparison.same ? 0 : 1;
}

async function withPage(
  document: Document,
  comparison: ModelComparison,
  names: { readonly a: string; readonly b: string },
  io: Io,
): Promise<Document> {
  const { renderDiffPage } = await import('../../report/graph/diff-page.js');
  const made = { date: dateOf(io), version: version() };
  return { ...document, html: () => renderDiffPage(comparison, { ...names, ...made }) };
}
