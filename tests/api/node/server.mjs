// The API of examples/api_server as it is written for Node: Fastify in a cluster, better-sqlite3, and the field's packages for a cache, for limits of
// clients and for shedding. To be compared with; it reads a database that penstock-api-server has made.
//
//   node server.mjs PORT PROCESSES DATABASE MODULES
import cluster from 'node:cluster';
import { createRequire } from 'node:module';
import path from 'node:path';

const [port, processes, database, modules] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(modules), 'x.js'));

if (cluster.isPrimary) {
  for (let i = 0; i < Number(processes); ++i) cluster.fork();
  let listening = 0;
  cluster.on('listening', () => {
    if (++listening === Number(processes)) console.log(`http://127.0.0.1:${port}/`);
  });
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.kill('SIGKILL');
    process.exit(0);
  });
} else {
  const { LRUCache } = require('lru-cache');
  const db = new (require('better-sqlite3'))(database);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.pragma('mmap_size = 268435456');
  const user = db.prepare('SELECT id, name FROM users WHERE id = ?');
  const postsOf = db.prepare('SELECT id, title FROM posts WHERE author = ? ORDER BY id DESC');
  const posts = db.prepare('SELECT id, author, title FROM posts WHERE id > ? ORDER BY id LIMIT ?');
  const search = db.prepare('SELECT id, author, title FROM posts WHERE instr(title, ?) > 0 ORDER BY id DESC');
  const insert = db.prepare('INSERT INTO posts (author, title) VALUES (?, ?)');
  const cacheOf = (load) => {
    const cache = new LRUCache({ max: 100_000, ttl: 10_000, ttlResolution: 100 });
    return (id) => {
      let value = cache.get(id);
      if (value === undefined && (value = load(id)) !== undefined) cache.set(id, value);
      return value;
    };
  };
  const users = cacheOf((id) => user.get(id));
  const lists = cacheOf((id) => postsOf.all(id));
  const notFound = (reply) => reply.code(404).send({ error: 'not found' });

  const api = require('fastify')({ keepAliveTimeout: 60_000 });
  await api.register(require('@fastify/rate-limit'), { max: 1_000_000_000, timeWindow: '1 second' });
  await api.register(require('@fastify/under-pressure'), { maxEventLoopDelay: 50, retryAfter: 1 });
  const id = { params: { type: 'object', properties: { id: { type: 'integer' } } } };
  const userType = { type: 'object', properties: { id: { type: 'integer' }, name: { type: 'string' } } };
  const postType = {
    type: 'object',
    properties: { id: { type: 'integer' }, author: {}, title: { type: 'string' } },
  };
  const answers = (type) => ({ response: { 200: type } });
  api.get('/users/:id', { schema: { ...id, ...answers(userType) } }, async (request, reply) => users(request.params.id) ?? notFound(reply));
  api.get('/users/:id/posts', { schema: { ...id, ...answers({ type: 'array', items: postType }) } }, async (request) => lists(request.params.id));
  api.get('/posts', async (request) => {
    const found = posts.all(Number(request.query.after ?? 0), Number(request.query.limit ?? 20));
    return found.map((p) => ({ id: p.id, title: p.title, author: users(p.author) }));
  });
  api.get('/search', async (request) => {
    const found = search.all(request.query.q);
    return { found: found.length, posts: found.slice(0, 20) };
  });
  api.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => done(null, body));
  api.post('/users/:id/posts', { schema: id }, async (request, reply) => {
    const author = request.params.id;
    if (users(author) === undefined) return notFound(reply);
    const { lastInsertRowid } = insert.run(author, String(request.body));
    return reply.code(201).send({ id: Number(lastInsertRowid), author, title: String(request.body) });
  });
  await api.listen({ port: Number(port), host: '127.0.0.1' });
}
