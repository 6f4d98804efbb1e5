// Run by browser.test.js.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { root } from './gateway.js'
import { chat, online, openWindow, say, test, world } from './world.js'

const tile = (page, symbol) => page.locator(`[data-symbol=${symbol}]`)

/** The prices of each symbol, as the page writes them. */
async function stocks() {
  const prices = {}
  const csv = await readFile(join(root, 'examples/feed/stocks.csv'), 'utf8')
  for (const row of csv.split('\n').slice(1)) {
    const [symbol, , price] = row.split(',')
    ;(prices[symbol] ??= new Set()).add(Number(price).toFixed(2))
  }
  return prices
}

/** Resolves once the symbol has had so many more prices. */
const ticks = (page, symbol, count) =>
  page.evaluate(
    ([symbol, count]) =>
      new Promise((resolve) => {
        const prices = []
        const price = document.querySelector(`[data-symbol=${symbol}] .price b`)
        new MutationObserver(() => prices.push(price.textContent) >= count && resolve(prices)).observe(price, { childList: true })
      }),
    [symbol, count],
  )

test('quotes tick with the real prices', { timeout: 180_000 }, async (t) => {
  const page = await openWindow(t, `/quotes/`)
  page.setDefaultTimeout(120_000) // the feed may still be compiling
  await online(page)
  const real = await stocks()
  for (const symbol of ['MSFT', 'AMZN', 'IBM', 'AAPL']) {
    for (const price of await ticks(page, symbol, 3)) assert.ok(price === '–' || real[symbol].has(price), `${symbol} ${price}`)
  }
  assert.match(await page.textContent('#date'), /^[A-Z][a-z]+ 20(0\d|10)$/)
  await page.waitForFunction(() => Number(document.querySelector('#rate').textContent) > 0)

  // The line is in the colour of its symbol, and longer than a point.
  const columns = await tile(page, 'IBM').locator('canvas').evaluate((canvas) => {
    const wanted = getComputedStyle(canvas).getPropertyValue('--series')
    const c = canvas.getContext('2d')
    const { data, width } = c.getImageData(0, 0, canvas.width, canvas.height)
    const columns = new Set()
    const [r, g, b] = wanted.match(/[\da-f]{2}/gi).map((hex) => parseInt(hex, 16))
    for (let i = 0; i < data.length; i += 4) {
      const far = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b)
      if (far < 30 && data[i + 3] > 200) columns.add((i / 4) % width)
    }
    return columns.size
  })
  assert.ok(columns > 8, `the chart has ${columns} columns of its colour`)
})

test('a symbol that is switched off is not sent', async (t) => {
  const page = await openWindow(t, `/`)
  const bodies = []
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => bodies.push(payload)))
  await page.goto(`${world.gateway.url}/quotes/`)
  await online(page)
  await ticks(page, 'IBM', 1)
  const sent = page.waitForResponse((response) => response.request().postData()?.includes('unwatch'))
  await tile(page, 'IBM').locator('.switch').click()
  assert.equal((await sent).status(), 204)
  // One price may have been waiting already; these come behind it.
  await ticks(page, 'MSFT', 3)
  bodies.length = 0
  await ticks(page, 'MSFT', 4)
  assert.ok(bodies.some((body) => body.includes('"MSFT"')))
  assert.ok(bodies.every((body) => !body.includes('"IBM"')))
  await tile(page, 'IBM').locator('.switch').click()
  await ticks(page, 'IBM', 1)
})

test('a page that goes away closes its mailbox', { timeout: 20_000 }, async (t) => {
  const page = await openWindow(t, `/`)
  const opening = page.waitForResponse((response) => response.url().endsWith('/quotes/mailboxes'))
  await page.goto(`${world.gateway.url}/quotes/`)
  const { mailbox, key } = await (await opening).json()
  await online(page)
  await page.goto(`${world.gateway.url}/`)
  // Sent while the page goes, so it may take a moment; by itself it would live on for its linger time.
  let status
  do {
    status = (await fetch(`${world.gateway.url}/quotes/mailboxes/${mailbox}?wait=0&key=${key}`)).status
  } while (status === 200 || status === 204)
  assert.equal(status, 410)
})

const looks = {
  'a phone': { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 },
  'a small phone in the dark': { viewport: { width: 320, height: 568 }, deviceScaleFactor: 3, colorScheme: 'dark' },
  'a desktop in the dark': { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
}
for (const [i, [name, options]] of Object.entries(looks).entries())
  test(`pages fit ${name}`, async (t) => {
    const home = await openWindow(t, `/`, options)
    const quotes = await openWindow(t, `/quotes/`, options)
    await online(quotes)
    await ticks(quotes, 'IBM', 1)
    const talk = await chat(t, `a-nick-of-thirty-two-letters-${i}`, 'fit', options)
    await say(talk, 'word'.repeat(100))
    await say(talk, '/msg nobody-with-such-a-long-name-here hello')
    const join = await openWindow(t, `/chat/`, options)
    for (const page of [home, quotes, talk, join]) {
      const { scroll, client, dark } = await page.evaluate(() => ({
        scroll: document.documentElement.scrollWidth,
        client: document.documentElement.clientWidth,
        dark: Math.max(...getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3)) < 80,
      }))
      assert.ok(scroll <= client, `${page.url()}: ${scroll} in ${client}`)
      assert.equal(dark, options.colorScheme === 'dark', page.url())
    }
    const sharp = await tile(quotes, 'IBM').locator('canvas').evaluate((canvas) => canvas.width / canvas.clientWidth / devicePixelRatio)
    assert.ok(Math.abs(sharp - 1) < 0.01, 'one canvas pixel for each of the screen')
    const wide = await talk.evaluate(() => [...document.querySelectorAll('#log, #log *')].every((e) => e.scrollWidth <= e.clientWidth + 1 || e.clientWidth === 0))
    assert.ok(wide, 'the log does not scroll sideways')
  })
