// noderedis.mjs - a session of the client redis (node-redis).
//
// usage: node noderedis.mjs PORT PROTOCOL
import assert from 'node:assert/strict';
import { createClient, RESP_TYPES } from 'redis';

const client = createClient({
  url: `redis://127.0.0.1:${process.argv[2]}`,
  RESP: Number(process.argv[3]),
  socket: { reconnectStrategy: false },
});
client.on('error', (error) => {
  console.error(error);
  process.exitCode = 1;
});
await client.connect();

assert.equal(await client.ping(), 'PONG');
assert.equal(await client.set('nr:a', 'one'), 'OK');
assert.equal(await client.get('nr:a'), 'one');
assert.equal(await client.get('nr:none'), null);
assert.equal(await client.incrBy('nr:n', 42), 42);
assert.equal(await client.append('nr:a', ' more'), 8);

const bytes = Buffer.from([0, 13, 10, 255, 254]);
await client.set('nr:bytes', bytes);
const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
assert.deepEqual(await binary.get('nr:bytes'), bytes);

await client.mSet([['nr:m1', '1'], ['nr:m2', '2']]);
assert.deepEqual(await client.mGet(['nr:m1', 'nr:x', 'nr:m2']), ['1', null, '2']);

const sets = [];
for (let i = 0; i < 1000; i += 1) sets.push(client.set(`nr:p:${i}`, `v${i}`));
for (const reply of await Promise.all(sets)) assert.equal(reply, 'OK');

const seen = new Set();
for await (const keys of client.scanIterator({ MATCH: 'nr:p:*', COUNT: 100 })) {
  for (const key of [].concat(keys)) seen.add(key);
}
assert.equal(seen.size, 1000);

await assert.rejects(client.sendCommand(['NOSUCH', 'arg']), /unknown command 'NOSUCH'/);
assert.equal(await client.del(['nr:a', 'nr:none']), 1);
await client.close();
console.log('ok');
