// The same as store_bench.cpp with BullMQ's own producer and worker: node bull_bench.mjs SOCKET QUEUE JOBS CONCURRENCY PROBES
import { Queue, Worker } from 'bullmq';

const [socket, name, jobsText, concurrencyText, probesText] = process.argv.slice(2);
const [jobs, concurrency, probes] = [jobsText, concurrencyText, probesText].map(Number);
const connection = { path: socket, maxRetriesPerRequest: null };
const queue = new Queue(name, { connection });
await queue.waitUntilReady();

async function run(count, handle) {
  let runs = 0;
  let done;
  const all = new Promise((resolve) => (done = resolve));
  const worker = new Worker(name, async (job) => { handle(job); if (++runs === count) done(); }, { connection, concurrency });
  return { worker, all };
}

const begin = performance.now();
for (let i = 0; i < jobs; i += 1000) await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: '__default__', data: '12345678' })));
const added = (performance.now() - begin) / 1000;
const started = performance.now();
const work = await run(jobs, () => {});
await work.all;
await work.worker.close();
const ran = (performance.now() - started) / 1000;
console.log(`add ${(jobs / added).toFixed(0)} run ${(jobs / ran).toFixed(0)} both ${(jobs / (added + ran)).toFixed(0)}`);

const waited = [];
const second = await run(probes, (job) => waited.push(performance.now() - job.data));
await second.worker.waitUntilReady();
for (let i = 0; i < probes; ++i) {
  await queue.add('__default__', performance.now());
  await new Promise((next) => setTimeout(next, 4));
}
await second.all;
await second.worker.close();
waited.sort((a, b) => a - b);
console.log(`p50 ${waited[Math.floor(waited.length / 2)].toFixed(3)} p99 ${waited[Math.floor((waited.length * 99) / 100)].toFixed(3)}`);

// One by one, 16 at a time.
const singles = jobs / 2;
let next = 0;
const first = performance.now();
await Promise.all(Array.from({ length: 16 }, async () => { while (next++ < singles) await queue.add('__default__', '12345678'); }));
console.log(`singly ${(singles / ((performance.now() - first) / 1000)).toFixed(0)}`);
await queue.close();
