// ioredis.mjs - a session of the client ioredis.
//
// usage: node ioredis.mjs PORT PROTOCOL
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';

const client = new Redis({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  protocol: Number(process.argv[3]),
  retryStrategy: null,
});

assert.equal(await client.ping(), 'PONG');
assert.equal(await client.set('io:a', 'one'), 'OK');
assert.equal(await client.get('io:a'), 'one');
assert.equal(await client.get('io:none'), null);
assert.equal(await client.set('io:a', 'two', 'NX'), null);
assert.equal(await client.incrby('io:n', 41), 41);
assert.equal(await client.incr('io:n'), 42);

const bytes = Buffer.from([0, 13, 10, 255, 254]);
await client.set('io:bytes', bytes);
assert.deepEqual(await client.getBuffer('io:bytes'), bytes);

await client.mset({ 'io:m1': '1', 'io:m2': '2' });
assert.deepEqual(await client.mget('io:m1', 'io:x', 'io:m2'), ['1', null, '2']);

await client.set('io:brief', 'x', 'EX', 100);
const ttl = await client.ttl('io:brief');
assert.ok(ttl > 0 && ttl <= 100);

const pipeline = client.pipeline();
for (let i = 0; i < 1000; i += 1) pipeline.set(`io:p:${i}`, `v${i}`);
for (const [error, reply] of await pipeline.exec()) {
  assert.equal(error, null);
  assert.equal(reply, 'OK');
}

const seen = new Set();
for await (const keys of client.scanStream({ match: 'io:p:*', count: 100 })) {
  for (const key of keys) seen.add(key);
}
assert.equal(seen.size, 1000);

await assert.rejects(client.call('NOSUCH', 'arg'), /ERR unknown command 'NOSUCH'/);
await assert.rejects(client.incr('io:a'), /not an integer/);
assert.equal(await client.del('io:a', 'io:none'), 1);
assert.match(await client.info('keyspace'), /db0:keys=\d+/);
await client.quit();
console.log('ok');
