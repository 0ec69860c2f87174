// Node's `dataloader` under the workload of BM_dataloader (batcher_bench.cpp): a million keys, loaded 100 at a time, batches of 100, all remembered, or none.
// Prints what Google Benchmark prints as JSON, for scripts/bench_report.py. The package is in the folder that PENSTOCK_NODE_MODULES names, or where
// scripts/setup --peers puts it:
//
//	npm install --prefix build/npm dataloader@2.2.3
//	node benchmarks/peers/dataloader.mjs [repetitions [filter]]
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = process.env.PENSTOCK_NODE_MODULES || fileURLToPath(new URL('../../build/npm/node_modules', import.meta.url));
const DataLoader = createRequire(path.join(path.resolve(modules), 'x.js'))('dataloader');

const total = 1_000_000;
const group = 100;
const repetitions = Number(process.argv[2] ?? 5);
const wanted = new RegExp(process.argv[3] ?? '.');

async function run(cache) {
  const loader = new DataLoader(async (keys) => keys.map((k) => k * 3), { maxBatchSize: group, cache });
  let sum = 0;
  const begin = process.hrtime.bigint();
  for (let next = 0; next < total; next += group) {
    const loads = new Array(group);
    for (let i = 0; i < group; ++i) loads[i] = loader.load(next + i);
    for (const value of await Promise.all(loads)) sum += value;
  }
  const nanoseconds = Number(process.hrtime.bigint() - begin);
  if (sum !== (3 * total * (total - 1)) / 2) throw new Error('a wrong answer');
  return nanoseconds;
}

const benchmarks = [];
for (let i = 0; i < repetitions; ++i) {
  for (const [name, cache] of [
    ['BM_dataloader<node dataloader>', true],
    ['BM_dataloader_without_cache<node dataloader>', false],
  ]) {
    if (!wanted.test(name)) continue;
    const nanoseconds = await run(cache);
    benchmarks.push({
      name,
      run_name: name,
      run_type: 'iteration',
      real_time: nanoseconds / 1e6,
      time_unit: 'ms',
      items_per_second: total / (nanoseconds / 1e9),
    });
  }
}
console.log(JSON.stringify({ context: { executable: `node ${process.version}` }, benchmarks }, null, 2));
