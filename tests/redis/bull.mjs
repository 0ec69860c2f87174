// BullMQ's side of the tests: node bull.mjs SOCKET QUEUE WHAT COUNT [NAME=VALUE...]; see the branches.
// Says what happens in lines, as store_program does.
import { Queue, QueueEvents, Worker, UnrecoverableError } from 'bullmq';

const [socket, name, what, countText, ...rest] = process.argv.slice(2);
const count = Number(countText);
const settings = Object.fromEntries(rest.map((s) => [s.slice(0, s.indexOf('=')), s.slice(s.indexOf('=') + 1)]));
const connection = { path: socket, maxRetriesPerRequest: null };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const say = (...words) => console.log(...words);
const options = settings.opts ? JSON.parse(settings.opts) : {};

async function add(queue) {
  const jobs = [];
  for (let n = 0; n < count; ++n) jobs.push({ name: settings.name ?? 'x', data: { n, ...(settings.do ? { do: settings.do } : {}) }, opts: options });
  for (const job of await queue.addBulk(jobs)) say('id', job.id);
}

// Adds, waits for each end, and says what came.
async function ask(queue) {
  const events = new QueueEvents(name, { connection, lastEventId: '0-0' }); // all: '$' may be later than the first job
  await events.waitUntilReady();
  for (const what of ['completed', 'failed', 'active', 'progress', 'delayed', 'retries-exhausted', 'stalled', 'drained', 'paused', 'resumed']) {
    events.on(what, (e) => say('event', what, JSON.stringify(e)));
  }
  for (let n = 0; n < count; ++n) {
    const job = await queue.add(settings.name ?? 'x', { n, ...(settings.do ? { do: settings.do } : {}) }, options);
    say('id', job.id);
    try {
      say('value', JSON.stringify(await job.waitUntilFinished(events, 20000)));
    } catch (e) {
      say('failed', e.message);
    }
    const { logs } = await queue.getJobLogs(job.id);
    const now = await queue.getJob(job.id);
    const state = await now?.getState();
    say('job', JSON.stringify({ logs, progress: now?.progress, made: now?.attemptsMade, started: now?.attemptsStarted, state, stack: now?.stacktrace }));
  }
  await sleep(200);
  await events.close();
}

async function work() {
  let runs = 0;
  let last = Date.now();
  const worker = new Worker(
    name,
    async (job, token) => {
      last = Date.now();
      say('run', job.id, job.attemptsMade + 1, JSON.stringify(job.data));
      if (job.data.do === 'log') {
        await job.updateProgress(settings.progress ? JSON.parse(settings.progress) : 50);
        await job.log('half way');
      }
      if (job.data.do === 'sleep') await sleep(Number(settings.sleep ?? 100));
      if (job.data.do === 'hang') await sleep(3600000);
      ++runs;
      if (job.data.do === 'fail') throw new Error('told to fail');
      if (job.data.do === 'never') throw new UnrecoverableError('never');
      return job.data.do === 'value' ? { from: 'Node' } : { n: job.data.n };
    },
    {
      connection,
      concurrency: Number(settings.concurrency ?? 4),
      lockDuration: Number(settings.lock ?? 30000),
      stalledInterval: Number(settings.stalled ?? 30000),
      drainDelay: Number(settings.poll ?? 5000) / 1000,
    },
  );
  worker.on('error', (e) => say('error', e.message));
  worker.on('failed', (job, e) => say('failed', job?.id, e.message));
  await worker.waitUntilReady();
  say('ready');
  while (runs < count && Date.now() - last < Number(settings.idle ?? 5000)) await sleep(20);
  await worker.close();
}

const queue = new Queue(name, { connection });
await queue.waitUntilReady();
if (what === 'add') await add(queue);
if (what === 'ask') await ask(queue);
if (what === 'work') await work();
if (what === 'pause') await queue.pause();
if (what === 'resume') await queue.resume();
if (what === 'concurrency') await queue.setGlobalConcurrency(count);
if (what === 'limit') await queue.setGlobalRateLimit(count, Number(settings.duration));
if (what === 'promote') await queue.promoteJobs();
if (what === 'retry') await queue.retryJobs();
if (what === 'obliterate') await queue.obliterate();
if (what === 'schedule') await queue.upsertJobScheduler('s', { every: 60000 }, { name: 'x', data: { n: 1 } });
if (what === 'flow') {
  const { FlowProducer } = await import('bullmq');
  const flow = new FlowProducer({ connection });
  await flow.add({ name: 'parent', queueName: name + '-parents', data: {}, children: [{ name: 'child', data: { n: 1, ...(settings.do ? { do: settings.do } : {}) }, queueName: name }] });
  await flow.close();
}
if (what === 'counts') say(JSON.stringify(await queue.getJobCounts()));
await queue.close();
