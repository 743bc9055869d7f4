import fc from 'fast-check';

/**
 * Properties are drawn from one seed, so that a commit passes or fails alike wherever it is tested;
 * `FAST_CHECK_SEED=<integer>` draws others. (`npm run fuzz` is what looks for new counterexamples.)
 */
fc.configureGlobal({ seed: Number(process.env.FAST_CHECK_SEED ?? 1) });
