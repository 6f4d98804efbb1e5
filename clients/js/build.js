// Makes cometbox.js and cometbox.d.ts from src/. With --check it only compares: fails if what lies here is
// not what src/ says, or larger than promised.
import { build } from 'esbuild'
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const MAX_GZIP_BYTES = 6 * 1024
const BANNER = '// Made from src/ by build.js.'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const made = mkdtempSync(join(tmpdir(), 'cometbox-js-'))
try {
  const tsc = here('node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [tsc, '--project', here('.'), '--outDir', made], { stdio: 'inherit' })
  await build({
    entryPoints: [here('src/cometbox.ts')],
    outfile: join(made, 'cometbox.js'),
    bundle: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    banner: { js: BANNER },
  })
  for (const file of ['cometbox.js', 'cometbox.d.ts']) {
    const [from, to] = [join(made, file), here(file)]
    if (!process.argv.includes('--check')) copyFileSync(from, to)
    else if (!readFileSync(from).equals(readFileSync(to))) fail(`${file} is not what src/ says: npm run build`)
  }
  const size = gzipSync(readFileSync(join(made, 'cometbox.js')), { level: 9 }).length
  console.log(`cometbox.js: ${size} bytes gzipped`)
  if (size >= MAX_GZIP_BYTES) fail(`that is not less than ${MAX_GZIP_BYTES}`)
} catch (error) {
  // A compiler has told what is wrong.
  fail(error.message)
} finally {
  rmSync(made, { recursive: true })
}

function fail(why) {
  console.error(why)
  process.exitCode = 1
}
