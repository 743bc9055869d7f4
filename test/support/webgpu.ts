import { existsSync } from 'node:fs';
import { openSession } from '../../src/runtime/session/session.js';
import { modelOf } from '../runtime/helpers.js';

/** Where Debian's chromium-common keeps SwiftShader, a Vulkan driver that renders in software. */
export const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';

/**
 * Finds a Vulkan driver for WebGPU: the machine's own or, failing that, SwiftShader, for this process and those that it
 * starts. Says on stderr why there is none.
 */
export async function findWebGpu(): Promise<boolean> {
  const model = modelOf(
    [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
    [['x', 'float32', [1]]],
    [['y', 'float32', [1]]],
  );
  const isNamed = Boolean(process.env.VK_ICD_FILENAMES ?? process.env.VK_DRIVER_FILES);
  if (!isNamed && !existsSync('/dev/nvidia0') && existsSync(SWIFTSHADER)) {
    process.env.VK_ICD_FILENAMES = SWIFTSHADER;
  }
  try {
    await using session = await openSession(model, { providers: 'webgpu' });
    return session.providers[0] === 'webgpu';
  } catch (error) {
    console.warn(`WebGPU tests are skipped: ${(error as Error).message}`);
    return false;
  }
}
