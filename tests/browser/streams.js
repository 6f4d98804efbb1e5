// Run by browser.test.js.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { openWindow, test, world } from './world.js'

const json = { 'Content-Type': 'application/json' }

async function publish(nick, say) {
  const body = JSON.stringify({ to: { mailboxes: [nick] }, data: { say } })
  const headers = { Authorization: 'Bearer dev-only-key', ...json }
  const answer = await fetch(`${world.gateway.url}/chat/publish`, { method: 'POST', headers, body })
  assert.equal((await answer.json()).results[0].queued, 1)
}

/** A way to the gateway on which all connections can be cut. */
async function wire(t) {
  const ends = new Set()
  const server = createServer((near) => {
    const far = connect(new URL(world.gateway.url).port, '127.0.0.1')
    for (const [one, other] of [[near, far], [far, near]]) {
      ends.add(one)
      one.on('error', () => {}).on('close', () => ends.delete(one) && other.destroy()).pipe(other)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => ends.forEach((end) => end.destroy())
  t.after(() => {
    server.close()
    cut()
  })
  return { url: `http://127.0.0.1:${server.address().port}`, cut }
}

/** Opens a mailbox, and reads it in the page with what `read` makes of its URL. */
async function reader(t, nick, read, origin = world.gateway.url) {
  const page = await openWindow(t, '/chat/')
  await page.goto(`${origin}/chat/`)
  const url = await page.evaluate(async ([nick, headers]) => {
    const opened = await fetch('/chat/mailboxes', { method: 'POST', headers, body: JSON.stringify({ nick, room: nick }) })
    const { mailbox, key } = await opened.json()
    window.got = []
    return `/chat/mailboxes/${mailbox}?key=${key}`
  }, [nick, json])
  await page.evaluate(read, url)
  const got = (...says) => page.waitForFunction((says) => JSON.stringify(got) == says, JSON.stringify(says))
  return { page, url, got }
}

const events = (url) => {
  window.events = new EventSource(url)
  window.events.onmessage = ({ data, lastEventId }) => window.got.push(`${lastEventId} ${JSON.parse(data).say}`)
  window.events.addEventListener('end', ({ data }) => window.got.push(JSON.parse(data).error.code))
}

test("the browser's EventSource reads, and comes again from where it was", async (t) => {
  const { url: origin, cut } = await wire(t)
  const { page, url, got } = await reader(t, 'evelyn', events, origin)
  await publish('evelyn', 'one')
  await got('1 one')
  // Another reader takes over and gets it again, for nothing was confirmed.
  const other = await (await fetch(`${world.gateway.url}${url}&cursor=0`)).json()
  assert.deepEqual(other.messages.map(({ data }) => data.say), ['one'])
  await got('1 one', 'displaced')
  // It stays away, as it was told to; a new one goes on.
  await page.evaluate((url) => {
    events.close()
    window.events = new EventSource(`${url}&cursor=1`)
    window.opened = 0
    window.events.onopen = () => opened++
    window.events.onmessage = ({ data, lastEventId }) => window.got.push(`${lastEventId} ${JSON.parse(data).say}`)
  }, url)
  await publish('evelyn', 'two')
  await got('1 one', 'displaced', '2 two')
  // It comes again by itself, and says by Last-Event-ID where it was.
  cut()
  await publish('evelyn', 'three')
  await got('1 one', 'displaced', '2 two', '3 three')
  assert.equal(await page.evaluate(() => opened), 2)
})

test('an EventSource does not come again to a mailbox that was closed', async (t) => {
  const { page, url, got } = await reader(t, 'ewan', events)
  await publish('ewan', 'one')
  await got('1 one')
  assert.equal((await fetch(`${world.gateway.url}${url}`, { method: 'DELETE' })).status, 204)
  await got('1 one', 'closed')
  await page.waitForFunction(() => events.readyState == EventSource.CLOSED)
})

test("the browser's WebSocket reads, sends and is told why it is closed", async (t) => {
  const { page, url, got } = await reader(t, 'wendy', (url) => {
    window.socket = new WebSocket(url.replace(/^/, location.origin.replace('http', 'ws')), ['cometbox.v1.json'])
    socket.onmessage = ({ data }) => {
      const { id, reply, messages = [] } = JSON.parse(data)
      if (id) got.push(`${id} ${reply.members}`)
      for (const { seq, data } of messages) got.push(`${seq} ${data.say}`)
    }
    socket.onclose = ({ code, reason }) => got.push(`${code} ${reason.split(':')[0]}`)
  })
  await publish('wendy', 'one')
  await got('1 one')
  await page.evaluate(() => socket.send('{"id":7,"send":{"who":true}}'))
  await got('1 one', '7 wendy')
  assert.equal((await fetch(`${world.gateway.url}${url}`, { method: 'DELETE' })).status, 204)
  await got('1 one', '7 wendy', '4410 closed')
})
