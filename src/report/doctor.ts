import type { Diagnosis, ProviderDiagnosis } from '../runtime/providers/doctor.js';
import { type Column, type Document, grid, type Note } from './text/document.js';
import { formatCount, formatSignificant } from './text/text.js';

const COLUMNS: readonly Column<ProviderDiagnosis>[] = [
  { key: 'provider', header: 'provider', value: (row) => row.provider },
  { key: 'loads', header: 'works', value: (row) => row.loads, text: (row) => (row.loads ? 'yes' : 'no') },
  {
    key: 'rate',
    header: 'GFLOP/s',
    align: 'right',
    unit: 'GFLOP/s',
    definition: '10^9 operations a second of one matrix product in float32, the matrices on the device',
    value: (row) => row.proof?.rate,
    text: (row) => (row.proof === undefined ? '–' : rate(row.proof.rate)),
  },
  {
    key: 'size',
    header: 'product',
    align: 'right',
    priority: 1,
    definition: 'rows and columns of the matrices',
    value: (row) => row.proof?.size,
    text: (row) => (row.proof === undefined ? '–' : `${row.proof.size} × ${row.proof.size}`),
  },
  time('time', 'time', 'of that product, the fastest of three'),
  time('firstTime', 'first run', 'of a small product, which compiles shaders and allocates memory'),
  time('loadTime', 'load', 'to open its session'),
  { key: 'reason', header: 'reason', only: 'data', value: (row) => row.failure?.reason },
  { key: 'fix', header: 'fix', only: 'data', value: (row) => row.failure?.fix },
];

function time(
  key: 'time' | 'firstTime' | 'loadTime',
  header: string,
  definition: string,
): Column<ProviderDiagnosis> {
  return {
    key,
    header,
    align: 'right',
    priority: 2,
    unit: 'ms',
    definition,
    value: (row) => row.proof?.[key],
    text: (row) => (row.proof === undefined ? '–' : `${formatSignificant(row.proof[key])} ms`),
  };
}

function rate(value: number): string {
  return value >= 1000 ? formatCount(Math.round(value)) : formatSignificant(value);
}

interface Fact {
  readonly what: string;
  readonly is: string;
}

const FACT_COLUMNS: readonly Column<Fact>[] = [
  { key: 'what', header: 'machine', value: (row) => row.what },
  { key: 'is', header: '', shrink: 30, value: (row) => row.is },
];

/**
 * What runs here, in all forms.
 *
 * @example
 * console.log(render(doctorDocument(await diagnose())));
 */
export function doctorDocument(
  diagnosis: Diagnosis,
  options: { readonly verbose?: boolean; readonly isAsked?: boolean } = {},
): Document {
  const { versions, platform, cpu, memory, gpus, vulkanDrivers, providers } = diagnosis;
  const drivers = vulkanDrivers.map((path) => path.replace(/^.*\/|\.json$/g, ''));
  const facts: Fact[] = [
    { what: 'node', is: `${versions.node} on ${platform}` },
    { what: 'onnxruntime', is: versions.onnxruntime },
    { what: 'CPU', is: `${cpu.model}, ${cpu.cores} threads, ${(memory / 2 ** 30).toFixed(0)} GiB` },
    ...(gpus.length === 0 ? [{ what: 'GPU', is: 'none that nvidia-smi shows' }] : []),
    ...gpus.map((gpu, index) => ({
      what: `GPU ${index}`,
      is: `${gpu.name}${gpu.memory === undefined ? '' : `, ${(gpu.memory / 2 ** 30).toFixed(0)} GiB`}, driver ${gpu.driver}`,
    })),
    ...(platform.startsWith('linux')
      ? [{ what: 'Vulkan', is: drivers.length === 0 ? 'no driver registered' : drivers.join(', ') }]
      : []),
  ];
  return {
    kind: 'doctor',
    title: 'Execution providers',
    data: { ...diagnosis },
    grids: [grid(COLUMNS, providers), grid(FACT_COLUMNS, facts)],
    notes: failureNotes(providers, options),
  };
}

/** Why which do not load; those that this platform has not, in one line. */
function failureNotes(
  providers: readonly ProviderDiagnosis[],
  { verbose = false, isAsked = false }: { readonly verbose?: boolean; readonly isAsked?: boolean },
): Note[] {
  const notes: Note[] = [];
  const foreign: string[] = [];
  for (const { provider, failure, log } of providers) {
    if (failure === undefined) continue;
    if (/^onnxruntime-node has it on /.test(failure.reason) && !isAsked) {
      foreign.push(
        `${provider} (${failure.reason.replace(/^onnxruntime-node has it on (.*), not on .*$/, '$1')})`,
      );
      continue;
    }
    notes.push({ text: `${provider}: ${failure.reason}.`, tone: 'bad' });
    if (failure.fix !== undefined && failure.fix !== null) notes.push({ text: `  ${failure.fix}` });
    if (verbose && log !== '') {
      notes.push(...log.split('\n').map((line): Note => ({ text: `  ${line.trimEnd()}`, tone: 'aside' })));
    }
  }
  if (foreign.length > 0) notes.push({ text: `Not on this platform: ${foreign.join(', ')}.`, tone: 'aside' });
  return notes;
}
