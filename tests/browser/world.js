import assert from 'node:assert/strict'
import { test as anyTest } from 'node:test'
import { chromium } from 'playwright-core'
import { Gateway } from './gateway.js'

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // A page from there is not secure, other than one from localhost.
  '--host-resolver-rules=MAP plain.test 127.0.0.1',
]

/** Far more than a test takes that does not say how long it may, even on a busy machine. */
const TEST_MS = 120_000

/** A test that ends at some time, whatever it waits for. */
export const test = (name, options, run = options) => anyTest(name, { timeout: TEST_MS, ...options }, run)

/** One gateway and one browser for all tests: `world.gateway`, `world.browser`. */
export const world = {}

export async function start() {
  world.gateway = await Gateway.start()
  world.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGS })
}

export async function stop() {
  await world.browser?.close()
  if (world.gateway) assert.equal(await world.gateway.stop(), 0, `the gateway does not end cleanly\n${world.gateway.log}`)
}

/** A window with a session of its own. What its page throws fails the test. */
export async function openWindow(t, path, options = {}) {
  const context = await world.browser.newContext(options)
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  const errors = []
  page.on('pageerror', (error) => errors.push(error.stack))
  t.after(async () => {
    await context.close()
    assert.deepEqual(errors, [])
  })
  await page.goto(world.gateway.url + path)
  return page
}

/** A window in the chat. */
export async function chat(t, nick, room, options) {
  const page = await openWindow(t, `/chat/?nick=${nick}&room=${room}`, options)
  await online(page)
  return page
}

/** Leaves the room, so that the nick is free at once for the next test. */
export const leave = (page) => page.click('#leave').then(() => page.waitForSelector('#join:not([hidden])'))

export const online = (page) => page.waitForSelector('#lamp[data-state=online]')

export async function say(page, words) {
  await page.fill('#text', words)
  await page.press('#text', 'Enter')
  // Done when the gateway has it: what others see follows from that.
  await page.waitForFunction(() => !document.querySelector('.message.own.pending'))
}

/** Everything in the log, as `nick: words`; own messages are `you: words`. */
export const lines = (page) =>
  page.$$eval('#log > *', (all) =>
    all.map((line) => {
      const bubble = line.querySelector('.bubble')
      if (!bubble) return line.textContent
      const words = `${line.querySelector('.by').textContent}: ${bubble.textContent}`
      return line.classList.contains('failed') ? `${words} (${line.querySelector('.why').textContent})` : words
    }),
  )

/** Waits for a message or line of these words. */
export const sees = (page, words) =>
  page.waitForFunction(
    (words) => [...document.querySelectorAll('#log .bubble, #log .line')].some((e) => e.textContent === words),
    words,
  )
