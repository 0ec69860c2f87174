// examples/websocket_hub as it is written for Node: the package ws, as in its example of a broadcast. To be compared with.
//
//   node hub.mjs PORT MODULES
import { createRequire } from 'node:module';
import path from 'node:path';

const [port, modules] = process.argv.slice(2);
const { WebSocketServer, WebSocket } = createRequire(path.join(path.resolve(modules), 'x.js'))('ws');

const hub = new WebSocketServer({ port: Number(port), host: '127.0.0.1', backlog: 4096, perMessageDeflate: false });
hub.on('connection', (connection) => {
  connection.on('error', () => {});
  connection.on('message', (data, isBinary) => {
    for (const client of hub.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});
hub.on('listening', () => console.log(`ws://127.0.0.1:${port}/`));
process.on('SIGTERM', () => process.exit(0));
