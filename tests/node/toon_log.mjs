// toon_log.mjs - reads a log's text with the reference implementation of TOON.
//
// usage: node toon_log.mjs TEXT_FILE
//
// Decodes the whole file in non-strict mode, and each record line by itself
// in strict mode, which must encode to the same bytes again. Prints
// {"map": ..., "lines": N}; exits with 1 at the first line that differs.
import { readFileSync } from 'node:fs';
import { decode, encode } from '@toon-format/toon';

const text = readFileSync(process.argv[2], 'utf8');
let lines = 0;
for (const line of text.split('\n')) {
  if (line === '' || line.startsWith('#')) continue;
  const again = encode(decode(line, { strict: true }));
  if (again !== line) {
    console.error(`not the same again:\n${line}\n${again}`);
    process.exit(1);
  }
  lines += 1;
}
const map = decode(text, { strict: false });
process.stdout.write(JSON.stringify({ map, lines }));
