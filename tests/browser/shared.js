// Run by browser.test.js. A mailbox that several devices of one user read: browsers, and a program in Python.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { access } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { browser, log, messages, tab, until } from './tab.js'
import { test, world } from './world.js'

// With the Python client in it: made by test.sh.
const python = process.env.PYTHON ?? fileURLToPath(new URL('../../target/python/bin/python', import.meta.url))
const open = { name: 'ann', identity: 'ann@example.org', shared: true }
/** Prints what comes; after the first it waits for a line, and so does not confirm it. */
const PROGRAM = `
import asyncio, cometbox, json, sys
async def main():
    async with cometbox.open(sys.argv[1], "devices", json.loads(sys.argv[2])) as mailbox:
        print("open", flush=True)
        async for message in mailbox:
            print(message.data, flush=True)
            if message.data == "m1":
                await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())`

async function publish(...data) {
  const response = await fetch(`${world.gateway.url}/devices/publish`, {
    method: 'POST',
    headers: { Authorization: 'Bearer dev-only-key', 'Content-Type': 'application/json' },
    body: JSON.stringify(data.map((data) => ({ to: { mailboxes: ['ann'] }, data }))),
  })
  assert.ok((await response.json()).results.every(({ queued, dropped }) => queued === 1 && dropped === 0))
}

test('two browsers and a Python program share a mailbox, each with a cursor of its own', { timeout: 60_000 }, async (t) => {
  if (!(await access(python).then(() => true, () => false))) {
    assert.notEqual(process.env.CI, 'true', `no ${python}`)
    return t.skip('no Python with the client')
  }
  const waiting = (count) => world.gateway.metric('queued_messages', 'devices').then((found) => found === count)
  const sees = (page, data) => page.waitForFunction((data) => sessionStorage.log?.includes(JSON.stringify(data)), data)
  await world.gateway.status('devices', (app) => app?.state === 'ok')
  const pages = []
  for (const transports of [['websocket'], ['long-poll']]) pages.push(await tab(await browser(t), '', { app: 'devices', open, transports }))
  const program = spawn(python, ['-c', PROGRAM, world.gateway.url, JSON.stringify(open)], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => program.kill())
  const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]()
  const line = async () => (await lines.next()).value
  assert.equal(await line(), 'open')
  const all = ['m1', 'm2', 'm3']
  await publish(...all)
  for (const page of pages) await sees(page, 'm3')
  assert.equal(await line(), 'm1')
  await publish('m4')
  for (const page of pages) await sees(page, 'm4')
  assert.ok(await waiting(4), 'the slower one has confirmed nothing')
  program.stdin.write('\n')
  assert.deepEqual([await line(), await line(), await line()], ['m2', 'm3', 'm4'])
  // It has asked for more, and so is done with all of them, as the browsers are.
  await until(() => waiting(0))
  for (const page of pages) {
    assert.deepEqual(await messages(page), [...all, 'm4'])
    assert.ok((await log(page)).every((entry) => !entry.lost))
  }
})
