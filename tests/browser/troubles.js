// Run by browser.test.js. Tabs that share a mailbox and get into trouble.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { browser, emptyTab, HOMES, log, publish, sees, tab, unique } from './tab.js'

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

for (const [where, home] of Object.entries(HOMES))
  test(`an error of the page that cannot be sent ends all tabs, with ${where}`, { timeout: 60_000 }, async (t) => {
    const context = await browser(t, home)
    const tabs = [await emptyTab(context), await emptyTab(context)]
    const over = tabs.map((tab) =>
      tab.evaluate(async () => {
        const { connect } = await import('/cometbox.js')
        // As libraries throw them: with a function in it.
        const open = () => Promise.reject({ message: 'no token', retry() {} })
        return new Promise((resolve) => {
          connect({ app: 'chat', tabs: true, open, onClosed: (error) => resolve(`${error}`) })
        })
      }),
    )
    assert.deepEqual(await Promise.all(over), ['Error: no token', 'Error: no token'])
  })
