// Run by browser.test.js. Tabs that share a mailbox and get into trouble.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { browser, HOMES, log, publish, sees, tab, unique } from './tab.js'

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Callbacks of this tab wait until it is told otherwise. */
const isSlow = () => {
  window.gate = new Promise((resolve) => (window.openGate = resolve))
}
const openGate = (page) => page.evaluate(() => window.openGate())

test('what came before a take-over and was dropped since is not lost', async (t) => {
  const nick = unique('dropped')
  const context = await browser(t, HOMES['an elected tab'])
  const leader = await tab(context, nick, { transports: ['websocket'] })
  // It has everything, and confirms nothing yet: to make room the gateway drops what it handed out.
  const next = await tab(context, nick, { transports: ['websocket'], before: isSlow })
  const large = (id) => ({ id, text: 'x'.repeat(100_000) })
  await publish(nick, ...range(1, 8).map(large))
  await sees(leader, 8)
  await publish(nick, ...range(9, 16).map(large))
  await sees(leader, 16)
  await Promise.all([next.waitForResponse((response) => response.url().includes('cursor=')), leader.close()])
  await openGate(next)
  await publish(nick, 'after')
  await sees(next, 'after')
  const told = (await log(next)).slice(1).map(({ data, lost }) => data ?? `${lost} lost`)
  assert.deepEqual(told, [...range(1, 16), 'after'])
})
