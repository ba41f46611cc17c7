// Puts a compressed twin beside each file of dist/, once, so that the hub only has to send it;
// and holds the whole to its size.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';

/** Most that the page may weigh on its way, bytes. */
const MOST = 150_000;

// Vite empties the folder; git and cargo want it there.
writeFileSync(
  'dist/.gitignore',
  '# Built by `make dashboard`; the folder itself stays, so that cargo can watch it.\n*\n!.gitignore\n',
);

let total = 0;
for (const name of readdirSync('dist', { recursive: true, withFileTypes: true })) {
  if (!name.isFile() || name.name.endsWith('.gz') || name.name.startsWith('.')) continue;
  const path = join(name.parentPath, name.name);
  const packed = gzipSync(readFileSync(path), { level: constants.Z_BEST_COMPRESSION });
  writeFileSync(`${path}.gz`, packed);
  total += packed.length;
  console.log(`${path}  ${packed.length} bytes gzipped`);
}
console.log(`in all ${total} bytes gzipped`);
if (total > MOST) {
  console.error(`this is more than ${MOST}`);
  process.exit(1);
}
