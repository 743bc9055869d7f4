import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The command line and the library that are tested are those that are shipped.
    globalSetup: 'scripts/bundle.ts',
    setupFiles: 'test/support/property-seed.ts',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // onnxruntime uses every core by itself; more than two test processes only contend.
    maxWorkers: 2,
  },
});
