import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The command line that is tested is the one that is shipped.
    globalSetup: 'scripts/bundle-cli.ts',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // onnxruntime uses every core by itself; more than two test processes only contend.
    maxWorkers: 2,
  },
});
