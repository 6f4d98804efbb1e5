// Faye in a page of another origin, where a browser's rules apply.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'
import { Gateway, build } from './gateway.js'

const require = createRequire(import.meta.url)
const script = join(dirname(require.resolve('faye/package.json')), 'client/faye-browser-min.js')
let browser, pages, origin

before(async () => {
  await build()
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
  pages = createServer(async (request, response) => {
    const isScript = request.url === '/faye.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
    response.end(isScript ? await readFile(script) : '<!doctype html><script src="/faye.js"></script>')
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

for (const [type, disabled, config] of [
  ['callback-polling', ['websocket', 'eventsource', 'long-polling', 'cross-origin-long-polling'], () => ''],
  ['cross-origin-long-polling', ['websocket', 'eventsource'], () => `cors = { origins = ["${origin}"] }`],
  ['websocket', [], () => `cors = { origins = ["${origin}"] }`],
]) {
  test(`a page of another origin publishes and hears by ${type}`, { timeout: 60_000 }, async (t) => {
    const gateway = await Gateway.start(t, { top: config() })
    const context = await browser.newContext()
    t.after(() => context.close())
    const page = await context.newPage()
    const errors = []
    page.on('pageerror', (error) => errors.push(error.stack))
    await page.goto(origin)
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
    assert.deepEqual(errors, [])
  })
}
