// Run by browser.test.js. Tabs that share a mailbox and get into trouble: slow ones, late ones, workers that die.
import assert from 'node:assert/strict'
import { browser, close, connect, emptyTab, HOMES, killWorker, log, messages, publish, readers, sees, tab, unique } from './tab.js'
import { test, world } from './world.js'

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Callbacks of this tab wait until it is told otherwise. */
const isSlow = () => {
  window.gate = new Promise((resolve) => (window.openGate = resolve))
}
const openGate = (page) => page.evaluate(() => window.openGate())

for (const [where, home] of Object.entries(HOMES))
  test(`a tab that is too slow is told what it missed, comes back or goes for itself, with ${where}`, async (t) => {
    const nick = unique('slow')
    const context = await browser(t, home)
    const options = { transports: ['long-poll'] }
    const well = await tab(context, nick, options)
    const slow = await tab(context, nick, { ...options, before: isSlow })
    const gone = await tab(context, nick, { ...options, before: isSlow })
    await publish(nick, 1)
    await Promise.all([well, slow, gone].map((tab) => sees(tab, 1)))
    // They come once the others no longer wait, and are more than is kept for those that come back.
    await publish(nick, ...range(2, 251))
    await sees(well, 251)
    await close(gone)
    await openGate(slow)
    await sees(slow, 251)
    await publish(nick, 'both')
    await Promise.all([sees(well, 'both'), sees(slow, 'both')])
    assert.deepEqual(await messages(well), [...range(1, 251), 'both'])
    const told = (await log(slow)).slice(1).map(({ data, lost }) => data ?? `${lost} lost`)
    assert.deepEqual(told, [1, '50 lost', ...range(52, 251), 'both'])
  })

for (const [where, home] of Object.entries(HOMES))
  test(`a tab that closes before it is in closes nothing under the others, with ${where}`, async (t) => {
    const nick = unique('hasty')
    const context = await browser(t, home)
    const stays = await tab(context, nick)
    const hasty = await tab(context, nick)
    await hasty.reload()
    await hasty.evaluate(async (nick) => {
      const { connect } = await import('/cometbox.js')
      await connect({ app: 'chat', open: { nick, room: nick }, storage: sessionStorage }).close()
    }, nick)
    assert.ok(await publish(nick, 'still here'))
    await sees(stays, 'still here')
  })

test('who takes over goes on with the mailbox, though a newcomer be faster', async (t) => {
  const nick = unique('knows')
  const context = await browser(t, HOMES['an elected tab'])
  const opened = await world.gateway.metric('mailboxes_opened_total', 'chat')
  const leader = await tab(context, nick)
  const knows = await tab(context, nick, {
    before: () => {
      const { postMessage } = BroadcastChannel.prototype
      BroadcastChannel.prototype.postMessage = function (news) {
        if (!window.isSlow || !news.join) return postMessage.call(this, news)
        // Another tab has joined when this one does.
        const ear = new BroadcastChannel(this.name)
        ear.onmessage = ({ data }) => {
          if (!data.join) return
          ear.close()
          postMessage.call(this, news)
        }
      }
    },
  })
  const newcomer = await emptyTab(context)
  await knows.evaluate(() => (window.isSlow = true))
  await leader.close()
  await connect(newcomer, nick)
  await publish(nick, 'both')
  await Promise.all([knows, newcomer].map((tab) => sees(tab, 'both')))
  assert.equal((await world.gateway.metric('mailboxes_opened_total', 'chat')) - opened, 1)
  assert.deepEqual(await messages(knows), ['both'])
  assert.deepEqual((await log(newcomer)).map(({ mailbox, data }) => mailbox ?? data), [nick, 'both'])
})

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

test('tabs without locks notice that the SharedWorker died', async (t) => {
  const nick = unique('plain-worker')
  const context = await browser(t)
  const origin = world.gateway.url.replace('127.0.0.1', 'plain.test')
  const tabs = [await tab(context, nick, {}, origin), await tab(context, nick, {}, origin)]
  await publish(nick, 'before')
  await Promise.all(tabs.map((tab) => sees(tab, 'before')))
  await Promise.all([killWorker(), publish(nick, 'during')])
  await Promise.all(tabs.map((tab) => sees(tab, 'during')))
  await publish(nick, 'after')
  await Promise.all(tabs.map((tab) => sees(tab, 'after')))
  assert.deepEqual(await Promise.all(tabs.map(messages)), Array(2).fill(['before', 'during', 'after']))
  assert.ok(!tabs.some((tab) => readers.has(tab)), 'there is a worker again')
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
