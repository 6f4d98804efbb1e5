// Run by browser.test.js. Tabs that cannot share a connection, and want one each over HTTP/1.1.
import assert from 'node:assert/strict'
import { test, world } from './world.js'

/** More than a browser has connections. */
const TABS = 8

for (const transport of ['long-poll', 'sse'])
  test(`${TABS} tabs that read alone by ${transport} all live, and leave room for other requests`, async (t) => {
    const context = await world.browser.newContext()
    context.setDefaultTimeout(30_000)
    t.after(() => context.close())
    const tabs = []
    for (let n = 0; n < TABS; n++) {
      const nick = `alone-${transport}-${n}`
      const page = await context.newPage()
      await page.goto(`${world.gateway.url}/style.css`)
      await page.evaluate(
        async ([nick, transport]) => {
          const { connect } = await import('/cometbox.js')
          window.got = []
          window.box = connect({
            app: 'chat',
            open: { nick, room: nick },
            tabs: false,
            transports: [transport],
            onMessage: (data) => window.got.push(data),
          })
          await window.box.opened
        },
        [nick, transport],
      )
      tabs.push({ nick, page })
    }
    const cookies = await context.cookies()
    assert.deepEqual(cookies.map(({ name, httpOnly }) => [name, httpOnly]), [['cometbox_browser', true]])

    for (const round of [1, 2]) {
      for (const { page } of tabs) {
        const took = await page.evaluate(async () => {
          const started = performance.now()
          const answer = await fetch('/cometbox.js', { cache: 'no-store' })
          await answer.text()
          return performance.now() - started
        })
        assert.ok(took < 1000, `a page's request took ${took} ms`)
      }
      for (const { nick } of tabs) {
        const response = await fetch(`${world.gateway.url}/chat/publish`, {
          method: 'POST',
          headers: { Authorization: 'Bearer dev-only-key', 'Content-Type': 'application/json' },
          body: JSON.stringify({ to: { mailboxes: [nick] }, data: round }),
        })
        assert.equal((await response.json()).results[0].queued, 1)
      }
      await Promise.all(tabs.map(({ page }) => page.waitForFunction((round) => window.got.at(-1) === round, round)))
    }
    for (const { page } of tabs) {
      assert.deepEqual(await page.evaluate(() => window.got), [1, 2])
      await page.evaluate(() => window.box.close())
    }
  })
