import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, dirname } from 'node:path'
import { test } from 'node:test'
import { root } from './gateway.js'

test('the prices in examples/feed are those of vega-datasets, byte for byte', async () => {
  // Data files are not among the package's exports, so they are found beside its entry.
  const entry = createRequire(import.meta.url).resolve('vega-datasets')
  const original = await readFile(join(dirname(entry), '..', 'data', 'stocks.csv'))
  const vendored = await readFile(join(root, 'examples/feed/stocks.csv'))
  assert.ok(original.equals(vendored))
})
