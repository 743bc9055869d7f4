import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { saveModel } from '../../src/graph/index.js';
import { buildModel, floats } from '../support/build.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

// An array on a real Slurm: Debian's packages slurm-wlm and munge, controller and node on this host. Installed by hand
// (apt-get install slurm-wlm munge): they take longer to install than the other tests to run.

const MAIN = resolve('dist/bin/onnx-overparam.js');
const directory = scratchDirectory('slurm');
const at = (name: string): string => join(directory, name);

/** Why there is no Slurm here; undefined where there is. */
function whyNot(): string | undefined {
  const missing = ['slurmctld', 'slurmd', 'munged', 'sbatch', 'runuser'].filter(
    (name) => spawnSync('which', [name]).status !== 0,
  );
  if (missing.length > 0) return `${missing.join(', ')} not installed (apt-get install slurm-wlm munge)`;
  if (process.getuid?.() !== 0) return 'its daemons are started by root';
  return undefined;
}

const reason = whyNot();
const daemons: ChildProcess[] = [];
const env = { ...process.env, SLURM_CONF: at('slurm.conf') };
const slurm = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { env, encoding: 'utf8', cwd: directory });

async function until(what: string, seconds: number, holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < seconds * 5; tries += 1) {
    if (holds()) return;
    await sleep(200);
  }
  throw new Error(`${what}: not within ${seconds} s`);
}

function start(command: string, ...args: string[]): void {
  daemons.push(spawn(command, args, { env, stdio: 'ignore' }));
}

beforeAll(async () => {
  if (reason !== undefined) return;
  const { initializers, nodes, inputs, outputs } = layers();
  await saveModel(buildModel({ inputs, outputs, nodes, initializers }), at('m.onnx'));
  for (const folder of ['state', 'spool', '/run/munge', '/var/lib/munge', '/var/log/munge'])
    mkdirSync(folder.startsWith('/') ? folder : at(folder), { recursive: true });
  execFileSync('chown', ['munge', '/run/munge', '/var/lib/munge', '/var/log/munge']);
  writeFileSync(
    at('slurm.conf'),
    [
      'ClusterName=test',
      `SlurmctldHost=${hostname()}`,
      'AuthType=auth/munge',
      'SlurmUser=root',
      'SlurmdUser=root',
      'ProctrackType=proctrack/linuxproc',
      'TaskPlugin=task/none',
      'SelectType=select/cons_tres',
      'ReturnToService=2',
      'RequeueExit=137',
      `StateSaveLocation=${at('state')}`,
      `SlurmdSpoolDir=${at('spool')}`,
      `NodeName=${hostname()} CPUs=${cpus().length}`,
      `PartitionName=all Nodes=${hostname()} Default=YES`,
    ].join('\n'),
  );
  if (!existsSync('/run/munge/munge.socket.2')) start('runuser', '-u', 'munge', '--', 'munged', '-F');
  await until('munged', 10, () => existsSync('/run/munge/munge.socket.2'));
  start('slurmctld', '-D');
  start('slurmd', '-D');
  await until('an idle node', 30, () =>
    spawnSync('sinfo', ['-h', '-o', '%t'], { env }).stdout.includes('idle'),
  );
}, 60_000);

afterAll(async () => {
  for (const daemon of daemons.reverse()) {
    daemon.kill();
    await sleep(200);
  }
});

function layers() {
  const sizes = Array.from({ length: 96 }, (_, index) => [200 + index, 260] as const);
  return {
    inputs: sizes.map(([m], i) => [`x${i}`, 'float32', ['n', m]] as [string, 'float32', (string | number)[]]),
    outputs: sizes.map(
      ([, n], i) => [`y${i}`, 'float32', ['n', n]] as [string, 'float32', (string | number)[]],
    ),
    nodes: sizes.map((_, i) => ({ opType: 'MatMul', inputs: [`x${i}`, `w${i}`], outputs: [`y${i}`] })),
    initializers: sizes.map(([m, n], i) => floats(`w${i}`, [m, n], (at) => Math.sin(i + at * at))),
  };
}

describe.skipIf(reason !== undefined)(`a Slurm array${reason === undefined ? '' : `: ${reason}`}`, () => {
  test('of 8, one task of which is killed by -9 and requeued, gives the bytes of the whole', {
    timeout: 120_000,
  }, async () => {
    const script = at('job.sh');
    writeFileSync(
      script,
      `#!/bin/bash
run() { exec ${process.execPath} ${MAIN} rank-report ${at('m.onnx')} --shard auto -o ${at('parts')} -q; }
part=${at('parts')}/part-3-of-8.jsonl
if [ "$SLURM_ARRAY_TASK_ID" = 3 ] && [ -z "$SLURM_RESTART_COUNT" ]; then
  run & pid=$!
  until grep -q '"piece"' $part 2> /dev/null; do sleep 0.01; done
  kill -9 $pid
  wait $pid
  code=$?
  cp $part ${at('killed.jsonl')}
  exit $code
fi
echo "$SLURM_ARRAY_TASK_ID \${SLURM_RESTART_COUNT:-0}" >> ${at('ran')}
run
`,
    );
    chmodSync(script, 0o755);
    const job = slurm('sbatch', '--parsable', '--array=1-8', '--requeue', '-o', at('out-%a'), script).trim();
    await until('the array', 100, () => {
      const left = slurm('squeue', '-h', '-j', job, '-o', '%i %t %r');
      // A task that is requeued waits two minutes, until the credential of its first run has expired.
      for (const [, task = ''] of left.matchAll(/^(\S+) PD BeginTime$/gm))
        slurm('scontrol', 'update', `JobId=${task}`, 'StartTime=now');
      return left.trim() === '';
    });
    expect(
      readdirSync(directory)
        .filter((name) => name.startsWith('out-'))
        .map((name) => readFileSync(at(name), 'utf8'))
        .join(''),
    ).not.toContain('error');
    const ran = readFileSync(at('ran'), 'utf8').trim().split('\n').toSorted();
    expect(ran).toEqual(['1 0', '2 0', '3 1', '4 0', '5 0', '6 0', '7 0', '8 0']);
    // Killed with some of its pieces there, which the second run kept as they were.
    const whole = (file: string): string[] => readFileSync(at(file), 'utf8').split('\n').slice(0, -1);
    const [killed, done] = [whole('killed.jsonl'), whole('parts/part-3-of-8.jsonl')];
    expect(killed.length).toBeGreaterThan(1);
    expect(killed.length).toBeLessThan(done.length);
    expect(done.slice(0, killed.length)).toEqual(killed);
    const write = async (name: string, ...words: string[]): Promise<Buffer> => {
      const { code, err } = await runCli([...words, '-o', at(name), '-q'], { SOURCE_DATE_EPOCH: '0' });
      expect([code, err]).toEqual([0, '']);
      return readFileSync(at(name));
    };
    const alone = await write('alone.html', 'rank-report', at('m.onnx'));
    expect(await write('merged.html', 'merge', at('parts'))).toEqual(alone);
  });
});
