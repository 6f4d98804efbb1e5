// Runs every program of this folder against a gateway.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Gateway } from '../../tests/browser/gateway.js'

const here = fileURLToPath(new URL('.', import.meta.url))
// With the Python client in it: made by test.sh.
const python = process.env.PYTHON ?? fileURLToPath(new URL('../../target/python/bin/python', import.meta.url))

let gateway
before(async () => {
  gateway = await Gateway.start()
  for (const app of ['chat', 'bayeux']) await gateway.status(app, ({ state }) => state === 'ok')
})
after(async () => assert.equal(await gateway.stop(), 0, gateway.log))

const json = { 'Content-Type': 'application/json' }

/** Starts a program; `lines` are what it prints. */
function run(t, command, args) {
  const env = { ...process.env, COMETBOX: gateway.url }
  const child = spawn(command, args, { cwd: here, env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  const program = { said: '', ended: once(child, 'exit') }
  child.stdout.setEncoding('utf8').on('data', (text) => (program.said += text))
  return program
}

async function publish(app, to, say) {
  const body = JSON.stringify({ to, data: { from: 'server', say } })
  const headers = { Authorization: 'Bearer dev-only-key', ...json }
  const answer = await fetch(`${gateway.url}/${app}/publish`, { method: 'POST', headers, body })
  return (await answer.json()).results[0].queued
}

const nick = (name) => ({ mailboxes: [name] })
const programs = [
  ['longpoll.sh', 'bash', nick('paul'), /"say":"hello"[^]*"say":"bye"/],
  ['stream.sh', 'bash', nick('carl'), /"say":"hello"[^]*"say":"bye"/],
  ['cometbox.mjs', 'node', nick('cosmo'), /^server: hello\nserver: bye\n$/],
  ['eventsource.mjs', 'node', nick('eve'), /^server: hello\nserver: bye\n$/],
  ['websocket.mjs', 'node', nick('wes'), /^(here: .*\n)?server: hello\n(here: .*\n)?server: bye\n(here: .*\n)?$/],
  ['mailbox.py', python, nick('pia'), /^server: hello\nserver: bye\n$/],
  ['cometd.mjs', 'node', { groups: ['hall'] }, /^server: hello\nserver: bye\n$/, 'bayeux'],
  ['faye.mjs', 'node', { groups: ['hall'] }, /^server: hello\nserver: bye\n$/, 'bayeux'],
]

for (const [program, command, to, expected, app = 'chat'] of programs) {
  test(program, { timeout: 60_000 }, async (t) => {
    if (command == python && !(await access(python).then(() => true, () => false))) {
      assert.notEqual(process.env.CI, 'true', `no ${python}`)
      return t.skip('no Python with the client')
    }
    const running = run(t, command, [program])
    // There from when its mailbox is, or its subscription.
    while (!(await publish(app, to, 'hello'))) assert.equal(running.said, '')
    assert.equal(await publish(app, to, 'bye'), 1)
    assert.deepEqual(await running.ended, [0, null])
    assert.match(running.said, expected)
  })
}

test('publish.py', { timeout: 60_000 }, async (t) => {
  if (!(await access(python).then(() => true, () => false))) {
    assert.notEqual(process.env.CI, 'true', `no ${python}`)
    return t.skip('no Python with the client')
  }
  const opened = await fetch(`${gateway.url}/chat/mailboxes`, { method: 'POST', headers: json, body: '{"nick":"reader","room":"hall"}' })
  const { key } = await opened.json()
  const running = run(t, python, ['publish.py', 'one', 'two'])
  assert.deepEqual(await running.ended, [0, null])
  assert.match(running.said, /^one: \d+\ntwo: \d+\n$/)
  const read = await fetch(`${gateway.url}/chat/mailboxes/reader?cursor=0&key=${key}`)
  assert.deepEqual((await read.json()).messages.map(({ data }) => data.say), ['one', 'two'])
})
