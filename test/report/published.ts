import { EMBEDDING_METRICS } from '../../src/analysis/embeddings/embedding-metrics.js';
import { ALL_METRICS, RANDOMIZED_METRICS } from '../../src/analysis/spectra/descriptors.js';
import type { MetricText } from '../../src/analysis/spectra/metric-text.js';
import { METRICS, type MetricDescriptor } from '../../src/analysis/spectra/metrics.js';
import { EXTRA_METRICS } from '../../src/analysis/spectra/spectral-descriptors.js';
import { SCHEMA_VERSION } from '../../src/report/text/json.js';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const ref = (name: string): Json => ({ $ref: `#/$defs/${name}` });
const listOf = (items: Json): Json => ({ type: 'array', items });
const text: Json = { type: 'string' };
const count: Json = { type: 'integer', minimum: 0 };
const figure: Json = { type: ['number', 'null'] };
const orNull = (schema: Json): Json => ({ anyOf: [schema, { type: 'null' }] });

function object(
  properties: Record<string, Json>,
  options: { readonly optional?: readonly string[]; readonly description?: string } = {},
): Json {
  const { optional = [], description } = options;
  return {
    ...(description !== undefined && { description }),
    type: 'object',
    properties,
    required: Object.keys(properties).filter((key) => !optional.includes(key)),
    additionalProperties: false,
  };
}

function metricsSchema(metrics: readonly MetricDescriptor[]): Record<string, Json> {
  const entries = metrics.map(({ key, format, definition, unit }): [string, Json] => [
    key,
    {
      type: format === 'count' ? ['integer', 'null'] : ['number', 'null'],
      description: unit === '' ? definition : `${definition} (unit: ${unit})`,
    },
  ]);
  return Object.fromEntries(entries);
}

/** What `rank-report --format json` prints. Additions do not count up the version; other changes do. */
export function rankReportSchema(): Json {
  const extra = ALL_METRICS.slice(METRICS.length);
  const optional = extra.map(({ key }) => key as string);
  const common = {
    schemaVersion: { const: SCHEMA_VERSION },
    metrics: listOf(ref('metric')),
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Output of onnx-overparam rank-report --format json',
    description:
      'Figures that are infinite or do not exist are null. Later versions of the program may add properties without a new schemaVersion.',
    version: SCHEMA_VERSION,
    anyOf: [ref('report'), ref('comparison')],
    $defs: {
      report: object(
        {
          kind: { const: 'rank-report' },
          ...common,
          model: orNull(text),
          weights: listOf(ref('weight')),
          notLookedAt: listOf(ref('notLookedAt')),
          total: ref('total'),
          rank: { ...(count as object), description: 'the rank that rankDistance is the distance to' },
          convView: ref('convView'),
          inputSize: count,
          embeddings: ref('embeddings'),
          assertions: listOf(ref('assertion')),
        },
        { optional: ['rank', 'convView', 'inputSize', 'embeddings', 'assertions'] },
      ),
      comparison: object(
        {
          kind: { const: 'rank-comparison' },
          ...common,
          a: ref('side'),
          b: ref('side'),
          weights: listOf(
            object({
              weight: text,
              a: orNull(ref('figures')),
              b: orNull(ref('figures')),
              change: orNull(ref('change')),
            }),
          ),
          onlyInA: listOf(text),
          onlyInB: listOf(text),
          assertions: listOf(ref('assertion')),
        },
        { optional: ['assertions'] },
      ),
      side: object(
        {
          model: orNull(text),
          weights: listOf(ref('weight')),
          notLookedAt: listOf(ref('notLookedAt')),
          total: ref('total'),
          rank: count,
          convView: ref('convView'),
          inputSize: count,
          embeddings: ref('embeddings'),
        },
        { optional: ['rank', 'convView', 'inputSize', 'embeddings'], description: 'one of the models' },
      ),
      weight: object(
        {
          weight: { ...(text as object), description: "the weight's name" } as Json,
          nodes: { ...(listOf(text) as object), description: 'the nodes that use it' } as Json,
          ops: listOf(text),
          shape: listOf(count),
          rows: { ...(count as object), description: 'of the matrix whose spectrum this is' } as Json,
          columns: count,
          copies: {
            ...(count as object),
            description: 'how many such matrices there are (slices of a convolution); 1 unless given',
          } as Json,
          dataType: text,
          parameters: count,
          metrics: orNull(ref('figures')),
          problem: { type: ['string', 'null'], description: 'why there is no spectrum' },
          chain: object(
            { role: { enum: ['factor', 'product'] }, weight: text, from: listOf(text) },
            {
              optional: ['from'],
              description: 'of a chain or another affine region: a part of it, or what it multiplies out to',
            },
          ),
          reasons: {
            description: 'with --verbose: why figures are null',
            type: 'object',
            properties: Object.fromEntries(extra.map(({ key }) => [key, text])),
            additionalProperties: false,
          },
          singularValues: {
            ...(listOf({ type: 'number', minimum: 0 }) as object),
            description: 'with --spectra: all of them, descending',
          } as Json,
        },
        { optional: ['copies', 'chain', 'reasons', 'singularValues'] },
      ),
      embeddings: object(
        {
          samples: count,
          isRandom: { type: 'boolean', description: 'true of random inputs' },
          of: { enum: ['outputs', 'inputs', 'chosen'] },
          classes: { type: ['integer', 'null'], description: 'null of samples without labels' },
          fewest: { type: ['integer', 'null'], description: 'samples of the smallest class' },
          notLookedAt: listOf(ref('notLookedAt')),
          metrics: listOf(
            object({
              key: { enum: EMBEDDING_METRICS.map(({ key }) => key) },
              header: text,
              unit: text,
              definition: text,
              source: text,
            }),
          ),
          values: listOf(ref('embedding')),
        },
        { description: 'with data: what the model makes of it' },
      ),
      embedding: object({
        value: text,
        nodes: { ...(listOf(text) as object), description: 'that make it or, of inputs, read it' } as Json,
        ops: listOf(text),
        weights: listOf(text),
        shape: { ...(listOf(count) as object), description: 'of one sample' } as Json,
        features: count,
        metrics: orNull(
          object(
            Object.fromEntries(
              EMBEDDING_METRICS.map(({ key, definition }): [string, Json] => [
                key,
                { type: ['number', 'null'], description: definition },
              ]),
            ),
            { optional: EMBEDDING_METRICS.filter(({ ofClasses }) => ofClasses).map(({ key }) => key) },
          ),
        ),
        problem: { type: ['string', 'null'], description: 'why there are no figures' },
      }),
      convView: {
        description: 'how convolutions were looked at; matricized unless given',
        enum: ['matricized', 'slices', 'operator'],
      },
      figures: object(
        {
          ...metricsSchema(ALL_METRICS),
          conditionNumberIsLowerBound: { type: 'boolean' },
          numericalRankIsLowerBound: { type: 'boolean' },
        },
        { optional },
      ),
      change: object(Object.fromEntries(ALL_METRICS.map(({ key }) => [key, figure])), {
        optional,
        description: 'b - a',
      }),
      metric: object({
        key: { enum: ALL_METRICS.map(({ key }) => key) },
        header: text,
        unit: text,
        definition: text,
        source: text,
      }),
      notLookedAt: object({ node: text, op: text, reason: text }),
      total: object({
        weights: count,
        parameters: count,
        effectiveRank: { type: 'number' },
        numericalRank: count,
        fullRank: count,
        effectiveRankRatio: { type: 'number' },
        problems: count,
      }),
      assertion: object({
        text,
        passed: { type: 'boolean' },
        checked: count,
        failures: listOf(
          object({
            weights: listOf(text),
            a: figure,
            op: { enum: ['<=', '>=', '==', '!=', '<', '>'] },
            b: figure,
            reason: { type: ['string', 'null'] },
          }),
        ),
      }),
    },
  };
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cell = (content: string): string => content.replaceAll('|', '\\|').replaceAll('*', '\\*');
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map((row) => line(row.map(cell)))].join('\n');
}

function metricRows(metrics: readonly (MetricText & { readonly key: string })[]): string[][] {
  return metrics.map(({ key, header, unit, definition, source }) => [
    `\`${key}\``,
    header,
    `${definition}${unit === '' ? '' : ` (unit: ${unit})`}`,
    source,
  ]);
}

/** docs/metrics.md */
export function metricsDocument(): string {
  const columns = ['key', 'header', 'definition', 'source'];
  const peers = EXTRA_METRICS.filter(({ weightWatcher }) => weightWatcher !== undefined);
  return `<!-- Made from the descriptors of the metrics. After a change: UPDATE=1 npx vitest run test/report/published.test.ts -->

# Metrics of rank-report

Each weight is treated as an m x n matrix W with singular values s1 >= s2 >= ... A Conv weight is the matrix out x (in/group * kernel).
The eigenvalues below are the squares s_i^2, the eigenvalues of the smaller of WᵀW and WWᵀ.

The float64 Gram matrix of a large weight does not resolve singular values below 1e-7 of the largest. They count as zero.
A figure that does not exist for a spectrum, for example because it has too few values, is – in tables and null in JSON.
\`--verbose\` gives the reason.

\`rank-report --metrics\` takes \`basic\`, \`all\`, or a comma-separated list of keys or headers. \`--sort\` and \`--assert\` take keys.

## basic

${table(columns, metricRows(METRICS))}

## all: these as well

${table(columns, metricRows(EXTRA_METRICS.filter(({ key }) => !(RANDOMIZED_METRICS as readonly string[]).includes(key))))}

## with --randomized

The spectrum is compared with that of the same elements in random order (\`--seed\` decides which). This doubles the work.

${table(columns, metricRows(EXTRA_METRICS.filter(({ key }) => (RANDOMIZED_METRICS as readonly string[]).includes(key))))}

## with --rank r

${table(columns, metricRows(ALL_METRICS.filter(({ key }) => key === 'rankDistance')))}

## with --data or --random-data

\`--data\` runs the model on N = \`--samples\` samples and measures the output of each node with a weight. \`--embeddings inputs\` measures
what the node reads instead, \`--at\` the values that you name. 512 samples are drawn at random by \`--seed\`, unless you say otherwise; of
data in several parts, the training part unless \`--split\` names another. \`--random-data\` runs the model on random inputs.

The value of a sample is flattened to a row of d features, and the N rows form the matrix H. All figures follow from the N x N
Gram matrix G = H Hᵀ, computed in float64, with eigenvalues l1 >= l2 >= ... What the paper calls the effective rank of embeddings is the Gram entropy.

With labels, let n_c be the number of samples in class c, m_c the mean of class c and m the mean of all samples:

    S_W = 1/N sum_i (h_i - m_c(i)) (h_i - m_c(i))ᵀ        within classes
    S_B = sum_c n_c/N (m_c - m) (m_c - m)ᵀ                between classes
    S_T = S_W + S_B                                       all
    NC1 = tr(S_W pinv(S_B)) / K                           Papyan, Han & Donoho 2020; their S_B where classes are of equal size
    TCV = tr(S_W)                                         total cluster variation

Zangrando et al. bound the distance of a weight to the matrices of rank K, the number of classes. The bound is the cluster variation of
the outputs of earlier layers, divided by the strength of weight decay. With labels and without \`--rank\`, distances are therefore to rank K,
and the table shows the distance ||W - W_K||_F / ||W||_F of each weight beside the figures of its embedding. \`--embeddings inputs\` shows
the cluster variation of a layer's input beside the distance of its weight.

- Papers define TCV as a mean or a sum, and divide it by different quantities. \`clusterVariation\` is the mean over the samples;
  \`clusterVariationRatio\` divides it by tr(S_T).
- The pseudo-inverse takes directions of S_B below the rounding of G (64 eps of its largest entry) for zero.
- With few samples per class the class means vary by chance, which makes S_B larger and NC1 smaller. Compare figures of equal N, with
  many samples per class.
- Embeddings that do not fit into 1 GiB together are collected in several runs of the part of the model that computes them.

\`--ep\` runs the model on another execution provider. The Gram matrices of embeddings are always computed on the CPU. Those of weights
with at least 512 rows and columns run on the provider if it has float64 (CUDA), all others on the CPU. Without data, a provider
without float64 (WebGPU, TensorRT, Core ML, DirectML) is refused: a Gram matrix in float32 misses the effective rank of a low-rank matrix by about 3 %.

${table(columns, metricRows(EMBEDDING_METRICS))}

## Names in WeightWatcher

The columns of WeightWatcher's \`details\` that hold the same quantity. WeightWatcher treats a convolution as the slices of its kernel, as
\`--conv-view slices\` does, and first multiplies them by sqrt(kh * kw / 2).

${table(
  ['key', 'WeightWatcher'],
  peers.map(({ key, weightWatcher }) => [`\`${key}\``, `\`${weightWatcher}\``]),
)}

## Assertions

\`--assert\` takes a statement. If it does not hold, the exit code is 1:

    or         = and { "or" and }
    and        = comparison { "and" comparison }
    comparison = "(" or ")" | sum ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum
    sum        = product { ( "+" | "-" ) product }
    product    = factor { ( "*" | "/" ) factor }
    factor     = "-" factor | number | size | "before" | metric "(" weights ")" | "(" sum ")"
    size       = "min" | "max" | "rows" | "columns"
    metric     = a key of the tables above
    weights    = a glob on the names of weights and nodes, as it is or between ' or "

- In a glob, \`*\` is any text, \`?\` any character, \`[abc]\` or \`[a-z]\` one of these, \`[!a]\` none of them. \`\\\` takes the next character as it is.
  A glob that matches nothing is an error (exit code 2).
- A comparison must hold for every weight that its glob matches. With several globs it must hold for every combination of their
  weights; equal globs stand for the same weight.
- \`rows\` and \`columns\` are those of the matrix of the weight that is named first; \`min\` and \`max\` are the smaller and the larger of the two.
- With two models, \`before\` is the first metric of the comparison for the same weight of the first model.
- A comparison with a figure that does not exist does not hold. Neither does one with a figure of which only a lower bound is known,
  unless the bound decides it.

    onnx-overparam rank-report trained.onnx --assert 'effectiveRank(conv1.weight) < 0.5*min'
    onnx-overparam rank-report before.onnx after.onnx --assert 'effectiveRank(*) > 0.9*before'
    onnx-overparam rank-report trained.onnx --assert 'alpha(*.fc?.*) > 2 and alpha(*.fc?.*) < 6 or numericalRank(head*) == min'
`;
}
