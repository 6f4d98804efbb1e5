// Run by browser.test.js. Whose mailbox it is that tabs share, and that a reload resumes.
import assert from 'node:assert/strict'
import { browser, connect, HOMES, log, tab } from './tab.js'
import { test, world } from './world.js'

/** Its mailboxes have no names of their own, so nobody is refused. */
const app = { app: 'quotes', open: { watch: [] } }
const mailbox = (page) => page.evaluate(() => window.box.mailbox)

for (const [where, home] of Object.entries(HOMES))
  for (const [name, mine, theirs] of [
    ['users', { user: 'ann' }, { user: 'bob' }],
    ['headers', { headers: { 'X-Token': 'a' } }, { headers: { 'X-Token': 'b' } }],
    ['bodies', { open: { watch: ['IBM'] } }, { open: { watch: ['MSFT'] } }],
  ])
    test(`tabs with other ${name} have a mailbox of their own, with ${where}`, async (t) => {
      const context = await browser(t, home)
      const mailboxes = []
      for (const options of [mine, theirs, mine]) mailboxes.push(await mailbox(await tab(context, '', { ...app, ...options })))
      assert.notEqual(mailboxes[0], mailboxes[1])
      assert.equal(mailboxes[0], mailboxes[2])
    })

for (const [name, mine, theirs] of [
  ['user', { user: 'ann' }, { user: 'bob' }],
  ['header', { headers: { 'X-Token': 'a' } }, { headers: { 'X-Token': 'b' } }],
])
  test(`after a reload another ${name} does not resume the mailbox, and the same one does`, async (t) => {
    const page = await tab(await browser(t), '', { ...app, ...mine })
    for (const options of [mine, theirs]) {
      await page.reload()
      await connect(page, '', { ...app, ...options })
    }
    const opened = (await log(page)).filter((entry) => entry.mailbox)
    assert.deepEqual(opened.map(({ resumed }) => resumed), [false, true, false])
    assert.equal(opened[0].mailbox, opened[1].mailbox)
    assert.notEqual(opened[0].mailbox, opened[2].mailbox)
  })

for (const [where, home] of Object.entries(HOMES))
  test(`what is secret is in no name that others can see, with ${where}`, async (t) => {
    const context = await browser(t, home)
    const secrets = { headers: { Authorization: 'Bearer s3cret' }, user: 's3cret@example.org', open: { watch: ['s3cret'] } }
    const page = await tab(context, '', { ...app, ...secrets })
    const devtools = await world.browser.newBrowserCDPSession()
    const { targetInfos } = await devtools.send('Target.getTargets', { filter: [{ type: 'shared_worker' }] })
    const [locks, stored] = await page.evaluate(async () => [await navigator.locks.query(), { ...sessionStorage }])
    assert.ok(locks.held.length > 0)
    assert.equal(targetInfos.length, where === 'a SharedWorker' ? 1 : 0)
    delete stored.log
    assert.ok(!JSON.stringify([locks, stored, targetInfos]).includes('s3cret'))
  })
