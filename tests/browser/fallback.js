// Run by browser.test.js. What stands between a browser and the gateway, and the transport that gets past it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import { connect } from 'node:net'
import { openWindow, test, world } from './world.js'

/** A proxy that treats upgrades and streams as it is told, and notes how it was read through. */
async function proxy(t, { upgrades, streams }) {
  const ways = []
  const far = new URL(world.gateway.url)
  const sockets = new Set()
  const server = createServer((near, answer) => {
    const way = near.headers.accept === 'text/event-stream' ? 'sse' : 'long-poll'
    if (near.url.includes('cursor=') && near.method === 'GET' && !near.url.includes('wait=0')) ways.push(way)
    const onward = request({ host: far.hostname, port: far.port, path: near.url, method: near.method, headers: near.headers })
    onward.on('error', () => answer.destroy())
    onward.on('response', (response) => {
      answer.writeHead(response.statusCode, response.headers)
      if (way !== 'sse' || streams === 'pass') return response.pipe(answer)
      // It is sent when it is complete, as a proxy does that buffers.
      answer.flushHeaders()
      response.resume()
    })
    answer.on('close', () => onward.destroy())
    near.pipe(onward)
  })
  server.on('connection', (socket) => sockets.add(socket))
  server.on('upgrade', ({ url, rawHeaders }, near) => {
    ways.push('websocket')
    near.on('error', () => {})
    if (upgrades === 'hang') return
    if (upgrades === 'refuse') return near.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    const onward = connect(far.port, far.hostname).on('error', () => near.destroy())
    const lines = rawHeaders.map((text, i) => text + (i % 2 ? '\r\n' : ': ')).join('')
    onward.write(`GET ${url} HTTP/1.1\r\n${lines}\r\n`)
    near.pipe(onward).pipe(near)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { url: `http://127.0.0.1:${server.address().port}`, ways }
}

for (const [upgrades, streams, wanted] of [
  ['pass', 'pass', ['websocket']],
  ['refuse', 'pass', ['websocket', 'sse']],
  ['hang', 'pass', ['websocket', 'sse']],
  ['refuse', 'buffer', ['websocket', 'sse', 'long-poll']],
  ['hang', 'buffer', ['websocket', 'sse', 'long-poll']],
])
  for (const tabs of [true, false])
    test(`where upgrades ${upgrades} and streams ${streams}, ${wanted.at(-1)} is used${tabs ? ' for all tabs' : ''}`, async (t) => {
      const nick = `behind-${upgrades}-${streams}-${tabs}`
      const { url, ways } = await proxy(t, { upgrades, streams })
      const page = await openWindow(t, '/style.css')
      await page.goto(`${url}/style.css`)
      await page.evaluate(
        async ([nick, tabs]) => {
          const { connect } = await import('/cometbox.js')
          window.log = []
          window.box = connect({
            app: 'chat',
            open: { nick, room: nick },
            tabs,
            onMessage: (data) => log.push(data),
            onState: (state) => state !== 'online' && log.push(state),
          })
          await window.box.opened
        },
        [nick, tabs],
      )
      for (let i = 0; i < 5; i++) {
        const body = JSON.stringify({ to: { mailboxes: [nick] }, data: i })
        const headers = { Authorization: 'Bearer dev-only-key', 'Content-Type': 'application/json' }
        await fetch(`${world.gateway.url}/chat/publish`, { method: 'POST', headers, body })
        // The first ones may come while it is still looking for a way.
        if (i > 1) await page.waitForFunction((i) => window.log.includes(i), i)
      }
      assert.deepEqual(await page.evaluate(() => window.log), [0, 1, 2, 3, 4])
      assert.deepEqual([...new Set(ways)], wanted)
      await page.evaluate(() => window.box.close())
    })
