// Clients that may use a WebSocket, behind a proxy that has none.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { before, test } from 'node:test'
import { join, unpinned } from './clients.js'
import { Gateway, build } from './gateway.js'

before(build)

/** Lets everything through but upgrades, which it answers with `refusal`, or not at all. */
async function proxy(t, gateway, refusal) {
  const proxy = { upgrades: 0 }
  const unanswered = new Set()
  const server = createServer((near, answer) => {
    const far = request(gateway.url + near.url, { method: near.method, headers: near.headers }, (response) => {
      answer.writeHead(response.statusCode, response.headers)
      response.pipe(answer)
    })
    far.on('error', () => answer.destroy())
    answer.on('close', () => far.destroy())
    near.pipe(far)
  })
  server.on('upgrade', (_, socket) => {
    proxy.upgrades++
    socket.on('error', () => {})
    if (refusal) return socket.end(refusal)
    unanswered.add(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
    for (const socket of unanswered) socket.destroy() // the server does not count them any more
  })
  proxy.url = `http://127.0.0.1:${server.address().port}`
  return proxy
}

for (const kind of unpinned)
  for (const [how, refusal] of [
    ['refuses upgrades', 'HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'],
    ['does not answer upgrades', ''],
  ])
    test(`${kind.name} reads by long-polling where a proxy ${how}`, { timeout: 60_000 }, async (t) => {
      const gateway = await Gateway.start(t)
      const between = await proxy(t, gateway, refusal)
      const ann = await join(gateway, kind, { base: between.url })
      const heard = await ann.subscribe('/chat')
      for (let i = 0; i < 3; i++) {
        await gateway.publish('open', { to: { groups: ['chat'] }, data: i })
        await heard.count(i + 1)
      }
      assert.deepEqual(heard.data, [0, 1, 2])
      assert.ok(between.upgrades > 0, 'it tried a WebSocket')
    })
