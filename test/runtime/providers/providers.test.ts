import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { readModel, Tensor } from '../../../src/graph/index.js';
import { randomInputs } from '../../../src/runtime/inputs/random-inputs.js';
import { neededLibraries } from '../../../src/runtime/providers/elf.js';
import { causeOf } from '../../../src/runtime/providers/install.js';
import { parseGpus, parseMemory } from '../../../src/runtime/providers/nvidia-smi.js';
import { explainFailure, ProviderError } from '../../../src/runtime/providers/provider-failure.js';
import {
  candidates,
  EXECUTION_PROVIDERS,
  PROVIDERS,
  type ProviderChoice,
} from '../../../src/runtime/providers/providers.js';
import { installation } from '../../../src/runtime/session/onnxruntime.js';
import { placementOf } from '../../../src/runtime/session/placement.js';
import { runModel } from '../../../src/runtime/session/run-model.js';
import { openSession } from '../../../src/runtime/session/session.js';
import { buildGraph } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { modelOf, numbers } from '../helpers.js';

const directory = scratchDirectory('providers');
const isLinux = process.platform === 'linux' && process.arch === 'x64';
const libraries = isLinux ? installation().libraries : '';
const hasCuda =
  isLinux &&
  (await readFile(join(libraries, 'libonnxruntime_providers_cuda.so')).then(
    () => true,
    () => false,
  ));
const relu = () =>
  modelOf(
    [{ opType: 'Relu', inputs: ['x'], outputs: ['y'], name: 'relu' }],
    [['x', 'float32', ['n', 3]]],
    [['y', 'float32', ['n', 3]]],
  );

describe('what is asked for', () => {
  test.each([
    [[], {}, 'no execution provider is named'],
    ['foo', {}, "there is no execution provider 'foo'; there are auto, cpu, cuda"],
    [['auto', 'cpu'], {}, 'stands alone'],
    [['cpu', 'webgpu'], {}, "'cpu' comes last"],
    [['cuda', 'cpu'], { strict: true }, 'the CPU is among the providers'],
    ['cpu', { strict: true }, 'the CPU is among the providers'],
    ['cpu', { device: 1 }, 'cpu cannot be told a device'],
    ['webgpu', { device: 1 }, 'VK_ICD_FILENAMES'],
    ['auto', { device: 1 }, "'auto' takes no device"],
    ['cuda', { device: -1 }, 'device must be an integer ≥ 0, is -1'],
  ] as [ProviderChoice, object, string][])('%j %j is refused', (choice, options, message) => {
    expect(() => candidates(choice, options)).toThrow(message);
  });

  test("a list is one candidate; 'auto' ends with the CPU unless it is strict", () => {
    expect(candidates(['cuda', 'webgpu', 'cpu', 'cpu'], { device: 1 })).toEqual([['cuda', 'webgpu', 'cpu']]);
    expect(candidates('auto', {}).at(-1)).toEqual(['cpu']);
    expect(candidates('auto', { strict: true })).toEqual(candidates('auto', {}).slice(0, -1));
  });

  test('a device is for those that take one', () => {
    for (const name of EXECUTION_PROVIDERS) {
      const asked = expect(() => candidates(name, { device: 0 }));
      if (PROVIDERS[name].takesDevice) asked.not.toThrow();
      else asked.toThrow('cannot be told a device');
    }
  });
});

describe.runIf(isLinux)('a provider that does not load', () => {
  test.skipIf(hasCuda).each(['cuda', 'tensorrt'] as const)(
    '%s: not installed, and what installs it',
    async (provider) => {
      for (const providers of [provider, [provider, 'cpu']] as const) {
        const error = await openSession(relu(), { providers }).then(
          () => undefined,
          (caught: unknown) => caught,
        );
        expect(error).toBeInstanceOf(ProviderError);
        const { message, failure } = error as ProviderError;
        expect(message).toContain(`libonnxruntime_providers_${provider}.so`);
        expect(message).toContain('onnx-overparam doctor --install cuda');
        expect(message.split('\n')).toHaveLength(2);
        expect(failure.provider).toBe(provider);
      }
    },
  );

  test.each(['coreml', 'directml'] as const)('%s: where it exists', async (providers) => {
    await expect(openSession(relu(), { providers })).rejects.toThrow(
      /onnxruntime-node has it on (macOS|Windows)/,
    );
  });

  test.skipIf(hasCuda)('auto takes the next and says why', async () => {
    await using session = await openSession(relu(), { providers: 'auto' });
    expect(session.passedOver.map(({ provider }) => provider)).toContain('cuda');
    expect(session.passedOver.every(({ reason }) => reason.length > 0)).toBe(true);
  });

  const message = 'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library';

  /** A folder with what the download brings, whose CUDA library asks for a library that is nowhere. */
  async function fakeCuda(name: string, change: (bytes: Buffer) => Buffer): Promise<string> {
    const folder = join(directory, name);
    await mkdir(folder);
    const real = join(libraries, 'onnxruntime_binding.node');
    // Looked for by name alone.
    await writeFile(join(folder, 'libonnxruntime.so.1'), '');
    await writeFile(join(folder, 'libonnxruntime_providers_shared.so'), await readFile(real));
    await writeFile(join(folder, 'libonnxruntime_providers_cuda.so'), change(await readFile(real)));
    return folder;
  }

  test('names the libraries that the loader does not find, and where it looked', async () => {
    const folder = await fakeCuda('missing', (bytes) => {
      const text = bytes.toString('latin1').replaceAll('libstdc++.so.6', 'libcudnn.so.99');
      return Buffer.from(text, 'latin1');
    });
    expect(await neededLibraries(join(folder, 'libonnxruntime_providers_cuda.so'))).toContain(
      'libcudnn.so.99',
    );
    const failure = await explainFailure(['cuda', 'cpu'], message, { libraries: folder });
    expect(failure?.reason).toMatch(/^libcudnn\.so\.99 not found/);
    expect(failure?.reason).toContain('LD_LIBRARY_PATH');
    expect(failure?.fix).toContain('cuDNN 9');
  });

  test('a download that was cut short is no library', async () => {
    const folder = await fakeCuda('short', () => Buffer.from('404'));
    const failure = await explainFailure(['cuda'], message, { libraries: folder });
    expect(failure?.reason).toContain('is no library');
    expect(failure?.fix).toContain('doctor --install cuda --yes');
  });

  test.each([
    [35, 'CUDA driver version is insufficient for CUDA runtime version', 'older than CUDA 12 wants'],
    [100, 'no CUDA-capable device is detected', 'the driver shows no GPU'],
    [101, 'invalid device ordinal', 'there is no GPU 3'],
    [2, 'out of memory', 'the GPU is out of memory'],
    [999, 'unknown error', "CUDA says 'unknown error' (999)"],
  ])('CUDA failure %i', async (code, text, reason) => {
    const said = `/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:123 … CUDA failure ${code}: ${text} ; GPU=0 ; hostname=h ; file=f ; line=245 ; expr=cudaSetDevice(info_.device_id);`;
    expect((await explainFailure(['cuda'], said, { device: 3 }))?.reason).toContain(reason);
    expect(await explainFailure(['cpu'], said)).toBeUndefined();
  });

  test('an error about the model is none about the provider', async () => {
    for (const text of [
      'Protobuf parsing failed.',
      'Non-zero status code returned while running Gather node.',
    ]) {
      expect(await explainFailure(['cuda', 'webgpu', 'cpu'], text)).toBeUndefined();
    }
  });
});

describe.runIf(isLinux)('WebGPU without a driver', () => {
  const variables = ['VK_ICD_FILENAMES', 'VK_DRIVER_FILES'];
  const saved = variables.map((name) => process.env[name]);
  afterEach(() => {
    for (const [index, name] of variables.entries()) {
      const value = saved[index];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });

  test('says that none is registered, or that none of them will do', async () => {
    const text = 'Failed to get a WebGPU adapter: No supported adapters';
    process.env.VK_ICD_FILENAMES = join(directory, 'none.json');
    delete process.env.VK_DRIVER_FILES;
    const failure = await explainFailure(['webgpu'], text);
    // Without Vulkan's loader that is what is missing first.
    expect(failure?.reason).toMatch(
      /no driver is registered in VK_ICD_FILENAMES|the Vulkan loader is missing/,
    );
    expect(failure?.fix).toContain('nstall');
  });
});

describe('who runs what', () => {
  test('every node of an unoptimized model has a place, and its name and operator', async () => {
    const model = await readModel('fixtures/shapes.onnx');
    const run = await runModel(model, randomInputs(model), { optimization: 'disabled' });
    const ops = model.graph.nodes.map(({ opType }) => opType).filter((op) => op !== 'Constant');
    expect(run.placement.nodes.map(({ op }) => op).toSorted()).toEqual(ops.toSorted());
    const [use, ...others] = run.placement.uses;
    expect([use?.provider, use?.nodes, others.length]).toEqual(['cpu', ops.length, 0]);
    expect(Object.values(use!.operators).reduce((a, b) => a + b, 0)).toBe(ops.length);
    expect(run.fallen).toEqual([]);
    expect(run.placement.nodes.every(({ runs }) => runs === 1)).toBe(true);
  });

  test('nodes in the body of a loop count once, however often they ran', async () => {
    const body = buildGraph({
      inputs: [
        ['i', 'int64', []],
        ['go', 'bool', []],
        ['v', 'float32', [2]],
      ],
      outputs: [
        ['go2', 'bool', []],
        ['w', 'float32', [2]],
      ],
      nodes: [
        { opType: 'Identity', inputs: ['go'], outputs: ['go2'] },
        { opType: 'Add', inputs: ['v', 'v'], outputs: ['w'], name: 'double' },
      ],
    });
    const model = modelOf(
      [
        {
          opType: 'Loop',
          inputs: ['count', '', 'x'],
          outputs: ['y'],
          name: 'loop',
          attributes: { body: { graph: body } },
        },
      ],
      [['x', 'float32', [2]]],
      [['y', 'float32', [2]]],
      [Tensor.of('count', 'int64', [], BigInt64Array.of(5n))],
    );
    const { outputs, placement } = await runModel(model, {
      x: { type: 'float32', shape: [2], data: Float32Array.of(1, 2) },
    });
    expect(outputs.y?.data).toEqual(Float32Array.of(32, 64));
    expect(placement.nodes.find(({ op }) => op === 'Add')?.runs).toBe(5);
    expect(placement.nodes.filter(({ op }) => op === 'Add')).toHaveLength(1);
  });

  test('copies between memories are no nodes', () => {
    const event = (op_name: string, provider: string) => ({
      cat: 'Node',
      name: `${op_name}_kernel_time`,
      dur: 1000,
      args: { op_name, provider, node_index: '1' },
    });
    const { nodes, copies } = placementOf([
      event('MatMul', 'CUDAExecutionProvider'),
      event('MemcpyToHost', 'CUDAExecutionProvider'),
      event('NonZero', 'CPUExecutionProvider'),
      event('Fused', 'SomeExecutionProvider'),
      { cat: 'Session', name: 'session_initialization', dur: 5 },
    ]);
    expect(nodes.map(({ provider }) => provider)).toEqual(['cuda', 'cpu', 'SomeExecutionProvider']);
    expect([copies, nodes[0]?.milliseconds]).toEqual([1, 1]);
  });

  test('a placement is asked for in vain without a profile, and before a run', async () => {
    await using plain = await openSession(relu());
    await expect(plain.placement()).rejects.toThrow('opened without a profile');
    await using profiled = await openSession(relu(), { profile: true });
    await expect(profiled.placement()).rejects.toThrow('did not run yet');
    await profiled.run({ x: { type: 'float32', shape: [1, 3], data: numbers(3) } });
    expect(await profiled.placement()).toBe(await profiled.placement());
    await profiled.run({ x: { type: 'float32', shape: [1, 3], data: numbers(3) } });
  });
});

test('what nvidia-smi prints', () => {
  expect(parseGpus('NVIDIA H100, 550.54, 81559\nTesla T4, 535.1, [N/A]\n')).toEqual([
    { name: 'NVIDIA H100', driver: '550.54', memory: 81559 * 2 ** 20 },
    { name: 'Tesla T4', driver: '535.1', memory: undefined },
  ]);
  expect(parseGpus('')).toEqual([]);
  expect(['1234\n', '[N/A]\n', ''].map(parseMemory)).toEqual([1234 * 2 ** 20, undefined, undefined]);
});

test("the cause in an installer's stack trace", () => {
  const trace =
    'node:events:497\n      throw er;\n\nError: getaddrinfo ENOTFOUND api.nuget.org\n    at x (y:1:2)\n';
  expect(causeOf(trace, 1)).toBe('getaddrinfo ENOTFOUND api.nuget.org');
  expect(causeOf('', 7)).toBe('its installer ended with code 7');
});
