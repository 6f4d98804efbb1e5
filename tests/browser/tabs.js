// Run by browser.test.js. Tabs of one browser that share a mailbox; each test has one of its own.
import assert from 'node:assert/strict'
import { browser, close, closeLast, connect, HOMES, killWorker, log, messages, publish, readers, reading, sees, tab, unique, until } from './tab.js'
import { test, world } from './world.js'

for (const [where, home] of Object.entries(HOMES))
  test(`ten tabs live on one long-poll over HTTP/1.1, held by ${where}`, async (t) => {
    const nick = unique('ten')
    const context = await browser(t, home)
    await until(async () => (await world.gateway.metric('held_reads', 'chat')) === 0) // of earlier tests
    const opened = await world.gateway.metric('mailboxes_opened_total', 'chat')
    const tabs = []
    for (let i = 0; i < 10; i++) tabs.push(await tab(context, nick, { transports: ['long-poll'] }))
    assert.equal((await world.gateway.metric('mailboxes_opened_total', 'chat')) - opened, 1)

    for (let i = 0; i < 10; i++) {
      await publish(nick, i)
      await Promise.all(tabs.map((tab) => sees(tab, i)))
    }
    const logs = await Promise.all(tabs.map(log))
    for (const entries of logs) assert.deepEqual(entries.filter((e) => e.seq).map((e) => e.data), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    const apart = logs[0].filter((e) => e.seq).map(({ seq }) => {
      const at = logs.map((entries) => entries.find((e) => e.seq === seq).at)
      return Math.max(...at) - Math.min(...at)
    })
    t.diagnostic(`from the first tab to the last: ${apart.join(', ')} ms`)
    assert.ok(Math.max(...apart) <= 200, `${apart}`)

    await until(async () => (await world.gateway.metric('held_reads', 'chat')) === 1)
    const statuses = await Promise.all(tabs.map((tab) => tab.evaluate(() => fetch('/style.css', { cache: 'no-store' }).then((r) => r.status))))
    assert.deepEqual(statuses, Array(10).fill(200))
    assert.equal(await world.gateway.metric('held_reads', 'chat'), 1, 'the same one, meanwhile')
    assert.equal(tabs.filter((tab) => readers.has(tab)).length, where === 'an elected tab' ? 1 : 0)
    assert.deepEqual(await Promise.all(tabs.map((tab) => tab.evaluate(() => window.box.send({ who: true })))), Array(10).fill({ members: [nick] }))
  })

for (const [where, home] of Object.entries(HOMES))
  test(`a tab that comes later gets what arrives from then on, from ${where}`, async (t) => {
    const nick = unique('later')
    const context = await browser(t, home)
    const first = await tab(context, nick)
    await publish(nick, 'early')
    await sees(first, 'early')
    const second = await tab(context, nick)
    await publish(nick, 'late')
    await Promise.all([sees(first, 'late'), sees(second, 'late')])
    assert.deepEqual(await messages(first), ['early', 'late'])
    const [opened, ...rest] = await log(second)
    assert.deepEqual(opened, { mailbox: nick, reply: { room: nick, nick, members: [] }, resumed: true })
    assert.deepEqual(rest.map((entry) => entry.data), ['late'])
  })

for (const [where, home] of Object.entries(HOMES))
  test(`close is for one tab, and for the mailbox in the last one, with ${where}`, async (t) => {
    const nick = unique('close')
    const context = await browser(t, home)
    const tabs = []
    for (let i = 0; i < 3; i++) tabs.push(await tab(context, nick))
    for (const [i, gone] of tabs.entries()) {
      assert.ok(await publish(nick, i))
      await Promise.all(tabs.slice(i).map((tab) => sees(tab, i)))
      await (i < tabs.length - 1 ? close : closeLast)(gone)
    }
    assert.equal(await publish(nick, 'nobody'), false, 'the mailbox is closed')
    assert.deepEqual(await Promise.all(tabs.map(messages)), [[0], [0, 1], [0, 1, 2]])
  })

for (const [where, home] of Object.entries(HOMES))
  test(`a tab that crashed does not count, with ${where}`, async (t) => {
    const nick = unique('crash')
    const context = await browser(t, home)
    const [first, last, crashed] = [await tab(context, nick), await tab(context, nick), await tab(context, nick)]
    await ENDS.crashes(crashed)
    await publish(nick, 'both')
    await Promise.all([sees(first, 'both'), sees(last, 'both')])
    await publish(nick, 'again') // not held up by what is not there
    await Promise.all([sees(first, 'again'), sees(last, 'again')])
    await close(first)
    await publish(nick, 'one')
    await sees(last, 'one')
    await closeLast(last)
    assert.equal(await publish(nick, 'nobody'), false, 'the mailbox is closed')
  })

const ENDS = {
  'is closed': (page) => page.close(),
  crashes: (page) => page.goto('chrome://crash').catch(() => {}),
  'goes elsewhere': (page) => page.goto('about:blank'),
}
for (const [transport, how] of [
  ['long-poll', 'is closed'],
  ['sse', 'is closed'],
  ['websocket', 'is closed'],
  ['long-poll', 'crashes'],
  ['websocket', 'crashes'],
  ['long-poll', 'goes elsewhere'],
  ['sse', 'goes elsewhere'],
])
  test(`another tab takes over when the one that reads by ${transport} ${how}`, async (t) => {
    const nick = unique('dies')
    const context = await browser(t, HOMES['an elected tab'])
    let tabs = []
    for (let i = 0; i < 3; i++) tabs.push(await tab(context, nick, { transports: [transport] }))
    let said = 0
    const say = () => publish(nick, said++)
    for (let round = 0; round < 2; round++) {
      await say()
      await Promise.all(tabs.map((tab) => sees(tab, said - 1)))
      const leader = tabs.find((tab) => readers.has(tab))
      tabs = tabs.filter((tab) => tab !== leader)
      await say()
      await Promise.all([ENDS[how](leader), say().then(say)])
      await say()
      await Promise.all(tabs.map((tab) => sees(tab, said - 1)))
    }
    const all = Array.from({ length: said }, (_, i) => i)
    for (const tab of tabs) {
      assert.deepEqual(await messages(tab), all)
      assert.ok(!(await log(tab)).some((entry) => entry.lost || entry.closed))
      assert.equal((await log(tab)).filter((entry) => entry.mailbox).length, 1, 'the same mailbox')
    }
  })

test('a tab takes over when the SharedWorker dies', async (t) => {
  const nick = unique('worker')
  const context = await browser(t)
  const tabs = [await tab(context, nick), await tab(context, nick)]
  await publish(nick, 'before')
  await Promise.all(tabs.map((tab) => sees(tab, 'before')))
  await Promise.all([killWorker(), publish(nick, 'during')])
  await Promise.race(tabs.map((tab) => reading.get(tab)))
  await publish(nick, 'after')
  await Promise.all(tabs.map((tab) => sees(tab, 'after')))
  assert.deepEqual(await Promise.all(tabs.map(messages)), Array(2).fill(['before', 'during', 'after']))
  assert.equal(tabs.filter((tab) => readers.has(tab)).length, 1)
})

test('a module that is part of a bundle is not run as a worker', async (t) => {
  const nick = unique('bundle')
  const context = await browser(t)
  const tabs = [await tab(context, nick, { bundled: true }), await tab(context, nick, { bundled: true })]
  await publish(nick, 'both')
  await Promise.all(tabs.map((tab) => sees(tab, 'both')))
  assert.equal(tabs.filter((tab) => readers.has(tab)).length, 1)
})

for (const [where, home] of Object.entries(HOMES))
  for (const others of [0, 2])
    test(`a reload of a tab with ${others} others misses nothing, with ${where}`, async (t) => {
      const nick = unique('reload')
      const context = await browser(t, home)
      const tabs = []
      for (let i = 0; i <= others; i++) tabs.push(await tab(context, nick))
      let said = 0
      const say = () => publish(nick, said++)
      for (let i = 0; i < 3; i++) {
        await say()
        await Promise.all(tabs.map((tab) => sees(tab, said - 1)))
        await Promise.all([tabs[0].reload(), say().then(say)])
        await say()
        await connect(tabs[0], nick)
        await Promise.all(tabs.map((tab) => sees(tab, said - 1)))
      }
      const all = Array.from({ length: said }, (_, i) => i)
      for (const tab of tabs) assert.deepEqual(await messages(tab), all)
    })

test('without secure origin a SharedWorker is shared, and nothing else', async (t) => {
  const nick = unique('plain')
  const origin = world.gateway.url.replace('127.0.0.1', 'plain.test')
  const context = await browser(t)
  const first = await tab(context, nick, {}, origin)
  assert.equal(await first.evaluate(() => isSecureContext), false)
  const second = await tab(context, nick, {}, origin)
  await publish(nick, 'both')
  await Promise.all([sees(first, 'both'), sees(second, 'both')])
  await second.reload()
  await connect(second, nick)
  await publish(nick, 'again')
  await Promise.all([sees(first, 'again'), sees(second, 'again')])
  await close(first)
  assert.ok(await publish(nick, 'alone'))
  await sees(second, 'alone')
  await closeLast(second)
  assert.equal(await publish(nick, 'nobody'), false, 'the mailbox is closed')
  assert.deepEqual(await messages(second), ['both', 'again', 'alone'])

  await HOMES['an elected tab'](context)
  const other = unique('plain')
  const lonely = await tab(context, other, {}, origin)
  await publish(other, 'you')
  await sees(lonely, 'you')
  assert.ok(readers.has(lonely))
})

for (const [where, home] of Object.entries(HOMES))
  test(`a tab that is told to freeze hands over, and gets what it missed, with ${where}`, async (t) => {
    const nick = unique('frozen')
    const context = await browser(t, home)
    const tabs = [await tab(context, nick), await tab(context, nick)]
    // A browser without a window does not freeze its tabs, so it is only said.
    const tell = (type) => tabs[0].evaluate((type) => void document.dispatchEvent(new Event(type)), type)
    for (let i = 0; i < 2; i++) {
      await publish(nick, `${i} awake`)
      await Promise.all(tabs.map((tab) => sees(tab, `${i} awake`)))
      await tell('freeze')
      await publish(nick, `${i} asleep`)
      await sees(tabs[1], `${i} asleep`)
      assert.ok(!(await messages(tabs[0])).includes(`${i} asleep`))
      await tell('resume')
      await sees(tabs[0], `${i} asleep`)
    }
    assert.deepEqual(tabs.map((tab) => readers.has(tab)), where === 'an elected tab' ? [true, true] : [false, false])
    const all = ['0 awake', '0 asleep', '1 awake', '1 asleep']
    assert.deepEqual(await Promise.all(tabs.map(messages)), [all, all])
  })

test('tabs that open something else, or want to be alone, have mailboxes of their own', async (t) => {
  const context = await browser(t)
  const tabs = []
  for (const [nick, options] of [['own-1'], ['own-2'], ['own-3', { tabs: false }]]) tabs.push(await tab(context, nick, options))
  for (const i of [1, 2, 3]) await publish(`own-${i}`, i)
  for (const [i, tab] of tabs.entries()) {
    await sees(tab, i + 1)
    assert.deepEqual(await messages(tab), [i + 1])
  }
})

for (const [where, home] of Object.entries(HOMES))
  test(`a tab that hangs does not hold the others up for ever, and gets what it missed, with ${where}`, async (t) => {
    const nick = unique('hangs')
    const context = await browser(t, home)
    const well = await tab(context, nick, { transports: ['long-poll'] })
    const hung = await tab(context, nick, { transports: ['long-poll'] })
    // Its callbacks cannot run while the script is busy.
    const over = hung.evaluate(() => {
      const end = Date.now() + 20_000
      while (Date.now() < end);
    })
    const times = []
    for (const data of ['one', 'two', 'three']) {
      await publish(nick, data)
      await sees(well, data)
      times.push(Date.now())
    }
    assert.ok(times[2] - times[0] < 18_000)
    await over
    await sees(hung, 'three')
    assert.deepEqual(await messages(hung), ['one', 'two', 'three'])
    assert.deepEqual(await messages(well), ['one', 'two', 'three'])
  })
