// The clients in pages of another origin, where a browser's rules apply.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { Gateway, build } from './gateway.js'

const require = createRequire(import.meta.url)
const folder = dirname(fileURLToPath(import.meta.resolve('cometd')))
const scripts = {
  '/faye.js': join(dirname(require.resolve('faye/package.json')), 'client/faye-browser-min.js'),
}
let browser, pages, origin

before(async () => {
  await build()
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
  pages = createServer(async ({ url }, response) => {
    const script = scripts[url] ?? (/^\/cometd\/\w+\.js$/.test(url) && join(folder, url.slice('/cometd/'.length)))
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html')
    response.end(script ? await readFile(script) : '<!doctype html><script src="/faye.js"></script>')
  })
  pages.listen(0, '127.0.0.1')
  await once(pages, 'listening')
  origin = `http://127.0.0.1:${pages.address().port}`
})

after(async () => {
  await browser?.close()
  pages?.closeAllConnections()
  pages?.close()
})

const named = () => `cors = { origins = ["${origin}"] }`

/** A page of a context of its own, or of this one. */
async function open(t, context) {
  if (!context) {
    context = await browser.newContext()
    t.after(() => context.close())
  }
  const page = await context.newPage()
  page.errors = []
  page.on('pageerror', (error) => page.errors.push(error.stack))
  await page.goto(origin)
  return page
}

for (const [type, disabled] of [
  ['callback-polling', ['websocket', 'eventsource', 'long-polling', 'cross-origin-long-polling']],
  ['cross-origin-long-polling', ['websocket', 'eventsource']],
  ['websocket', []],
]) {
  test(`faye in a page of a named origin publishes and hears by ${type}`, { timeout: 60_000 }, async (t) => {
    const gateway = await Gateway.start(t, { top: named() })
    const page = await open(t)
    await page.evaluate(
      async ([url, disabled]) => {
        window.heard = []
        window.client = new Faye.Client(url)
        for (const type of disabled) client.disable(type)
        await client.subscribe('/chat/*', (data) => heard.push(data))
        await client.publish('/chat/lobby', { text: 'ü \u2028 </script>' })
      },
      [`${gateway.url}/open/bayeux`, disabled],
    )
    await page.waitForFunction(() => heard.length === 1)
    // Into the connect that waits.
    await gateway.publish('open', { to: { groups: ['chat/lobby'] }, data: 'from a backend' })
    await page.waitForFunction(() => heard.length === 2)
    assert.deepEqual(await page.evaluate(() => heard), [{ text: 'ü \u2028 </script>' }, 'from a backend'])
    assert.equal(await page.evaluate(() => client._dispatcher.connectionType), type)
    await page.evaluate(() => client.disconnect())
    assert.deepEqual(page.errors, [])
  })
}

/** Starts CometD in a page, with one transport and acknowledgements: it listens to /chat/*. */
function cometd(page, url, type) {
  return page.evaluate(
    async ([url, type]) => {
      const [{ CometD }, { AckExtension }] = await Promise.all([import('/cometd/cometd.js'), import('/cometd/AckExtension.js')])
      window.heard = []
      window.connects = []
      window.client = new CometD()
      for (const other of client.getTransportTypes()) if (other !== type) client.unregisterTransport(other)
      client.registerExtension('ack', new AckExtension())
      client.configure({ url, logLevel: 'off' })
      client.addListener('/meta/connect', (reply) => connects.push(reply))
      await new Promise((resolve, reject) => client.handshake((reply) => (reply.successful ? resolve() : reject(new Error(JSON.stringify(reply))))))
      await new Promise((resolve) => client.subscribe('/chat/*', ({ data }) => heard.push(data), resolve))
    },
    [url, type],
  )
}

for (const type of ['callback-polling', 'long-polling', 'websocket']) {
  test(`cometd in a page of a named origin publishes and hears by ${type}`, { timeout: 60_000 }, async (t) => {
    const gateway = await Gateway.start(t, { top: named() })
    const page = await open(t)
    await cometd(page, `${gateway.url}/open/bayeux`, type)
    await page.evaluate(() => client.publish('/chat/lobby', { text: 'ü \u2028 </script>' }))
    await page.waitForFunction(() => heard.length === 1)
    for (const n of [1, 2, 3]) {
      await gateway.publish('open', { to: { groups: ['chat/lobby'] }, data: n })
      await page.waitForFunction((n) => heard.length === n + 1, n)
    }
    assert.deepEqual(await page.evaluate(() => heard), [{ text: 'ü \u2028 </script>' }, 1, 2, 3])
    assert.equal(await page.evaluate(() => client.getTransport().type), type)
    await page.evaluate(() => new Promise((resolve) => client.disconnect(resolve)))
    assert.deepEqual(page.errors, [])
  })
}

for (const isNamed of [false, true]) {
  test(`a page of an origin that is ${isNamed ? '' : 'not '}named gets ${isNamed ? 'in' : 'nowhere'}`, { timeout: 60_000 }, async (t) => {
    const gateway = await Gateway.start(t, { top: isNamed ? named() : '' })
    const page = await open(t)
    const shake = { channel: '/meta/handshake', version: '1.0', supportedConnectionTypes: ['long-polling'] }
    const [{ clientId }] = await gateway.say('open', shake)
    await gateway.say('open', { channel: '/meta/subscribe', clientId, subscription: '/x' })
    const url = `${gateway.url}/open/bayeux`
    const script = await page.evaluate(
      ([url, shake]) =>
        new Promise((resolve) => {
          window.called = () => resolve('called')
          const script = document.createElement('script')
          script.onerror = () => resolve('refused')
          script.src = `${url}?jsonp=called&message=${encodeURIComponent(JSON.stringify([shake]))}`
          document.head.append(script)
        }),
      [url, shake],
    )
    const socket = await page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url)
          socket.onopen = () => resolve('opened')
          socket.onerror = () => resolve('refused')
        }),
      url.replace('http', 'ws'),
    )
    // Sent, whatever the page may see of the answer.
    const message = JSON.stringify([{ channel: '/x', clientId, data: 'forged' }])
    await page.evaluate(([url, body]) => fetch(url, { method: 'POST', mode: 'no-cors', body }), [url, message])
    const replies = await gateway.say('open', { channel: '/meta/connect', clientId, connectionType: 'long-polling', advice: { timeout: 0 } })
    const heard = replies.filter(({ channel }) => channel === '/x').map(({ data }) => data)
    assert.deepEqual([script, socket, heard], isNamed ? ['called', 'opened', ['forged']] : ['refused', 'refused', []])
  })
}

test('of two pages of a browser one waits, and the other polls until it may', { timeout: 60_000 }, async (t) => {
  const gateway = await Gateway.start(t, { top: named(), http: 'max_reads_per_browser = 1' })
  const first = await open(t)
  const second = await open(t, first.context())
  await cometd(first, `${gateway.url}/open/bayeux`, 'long-polling')
  await cometd(second, `${gateway.url}/open/bayeux`, 'long-polling')
  const polls = () => connects.some(({ advice }) => advice?.['multiple-clients'])
  await second.waitForFunction(polls)
  assert.equal(await first.evaluate(polls), false)
  await gateway.publish('open', { to: { groups: ['chat/lobby'] }, data: 'to both' })
  for (const page of [first, second]) await page.waitForFunction(() => heard.length === 1)
  await first.close()
  // Once it has the other's place, what comes finds a connect that waits.
  let count = 1
  do {
    await gateway.publish('open', { to: { groups: ['chat/lobby'] }, data: 'to one' })
    count++
    await second.waitForFunction((count) => heard.length === count, count)
  } while (await second.evaluate(() => connects.at(-1).advice['multiple-clients']))
})
