/** Imports point one way, down this list to the folders above; types count. `npm run lint` holds it. */
const LAYERS = [
  'graph',
  'parts',
  'runtime',
  'linalg',
  'affine',
  'analysis',
  'passes',
  'training',
  'evaluate',
  'compress',
  'study',
  'report',
  'cli',
];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      comment: 'Move what both files need, often a type, into a file of its own that both import.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...LAYERS.slice(0, -1).map((layer, place) => ({
      name: `${layer}-imports-nothing-above`,
      comment: `Imports point one way: ${LAYERS.join(' <- ')}.`,
      severity: 'error',
      from: { path: `^src/${layer}/` },
      to: { path: `^src/(${LAYERS.slice(place + 1).join('|')}|index\\.ts)` },
    })),
    {
      name: 'onnxruntime-in-runtime-only',
      comment: 'src/runtime is the only importer of onnxruntime-node.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/runtime/' },
      to: { path: 'node_modules/onnxruntime-(node|common)' },
    },
    {
      name: 'page-script-without-node',
      comment:
        'The scripts of the pages run in a browser: of the rest they import types of data and pure text only.',
      severity: 'error',
      from: { path: '^src/report/html/client/' },
      to: { path: '^src/', pathNot: '^src/report/(html/(client/|types|series|axis)|text/text)' },
    },
    {
      name: 'page-script-by-its-bundle',
      comment: 'The rest imports the scripts of the pages as texts, from page-scripts.js.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/report/html/client/' },
      to: { path: '^src/report/html/client/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^src/linalg/kernels/assembly/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types'],
    },
  },
};
