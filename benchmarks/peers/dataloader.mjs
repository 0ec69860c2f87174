// Node's `dataloader` under the workload of BM_dataloader (batcher_bench.cpp): a million keys, loaded 100 at a time, batches of 100, all remembered.
// Prints what Google Benchmark prints as JSON, for scripts/bench_report.py. It installs nothing: in a folder of your choice
//
//	npm install dataloader@2.2.3
//	cp benchmarks/peers/dataloader.mjs . && node dataloader.mjs [repetitions] > dataloader.json
//
// Where the package is absent, it says so and ends with 0.
let DataLoader;
try {
  DataLoader = (await import('dataloader')).default;
} catch {
  console.error('dataloader.mjs: skipped: the package "dataloader" is not installed here (npm install dataloader)');
  process.exit(0);
}

const total = 1_000_000;
const group = 100;
const repetitions = Number(process.argv[2] ?? 5);

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
for (const [name, cache] of [
  ['BM_dataloader<node dataloader>', true],
  ['BM_dataloader_without_cache<node dataloader>', false],
]) {
  for (let i = 0; i < repetitions; ++i) {
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
