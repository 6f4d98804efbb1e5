// What tests of tabs need: a browser of their own, tabs that note what they are told, and who publishes.
import assert from 'node:assert/strict'
import { world } from './world.js'

export { until } from './until.js'

export const HOMES = {
  'a SharedWorker': () => {},
  'an elected tab': (context) => context.addInitScript(() => delete globalThis.SharedWorker),
}

let count = 0
/** A mailbox's name. */
export const unique = (what) => `${what}-${++count}`

/** A browser of its own, with tabs that have no page but the client. */
export async function browser(t, home = () => {}) {
  const context = await world.browser.newContext()
  context.setDefaultTimeout(20_000)
  t.after(() => context.close())
  await context.addInitScript(noteTabs)
  await home(context)
  return context
}

/** Notes how many tabs there are, as a tab hears it from who reads for all. */
function noteTabs() {
  globalThis.BroadcastChannel = class extends BroadcastChannel {
    constructor(name) {
      super(name)
      this.addEventListener('message', ({ data }) => (window.tabs = data.tabs ?? window.tabs))
    }
  }
}

/** Tabs that read from the gateway themselves. */
export const readers = new WeakSet()
/** Resolves when a tab does. */
export const reading = new WeakMap()

/** A tab that does not connect yet; `before` runs in it before its scripts do. */
export async function emptyTab(context, before, origin = world.gateway.url) {
  const page = await context.newPage()
  if (before) await page.addInitScript(before)
  reading.set(
    page,
    new Promise((resolve) => {
      const note = (asked) => asked.url().includes('cursor=') && resolve(readers.add(page))
      page.on('request', note)
      page.on('websocket', note)
    }),
  )
  await page.goto(`${origin}/style.css`)
  return page
}

/**
 * A tab that connects and notes in its session what its callbacks are told; of large messages the `id`. In
 * one that has a promise `gate`, callbacks wait for it.
 */
export async function tab(context, nick, { before, ...options } = {}, origin) {
  const page = await emptyTab(context, before, origin)
  await connect(page, nick, options)
  return page
}

export const connect = (page, nick, options) =>
  page.evaluate(
    async ([nick, { bundled, ...options } = {}]) => {
      // In a bundle it has another name.
      const bundle = bundled && URL.createObjectURL(await (await fetch('/cometbox.js')).blob())
      const { connect } = await import(bundle || '/cometbox.js')
      const note = (entry) => sessionStorage.setItem('log', JSON.stringify([...JSON.parse(sessionStorage.log ?? '[]'), entry]))
      window.box = connect({
        app: 'chat',
        open: { nick, room: nick },
        storage: sessionStorage,
        onOpen: (opened) => note(opened),
        onMessage: (data, seq) => {
          note({ data: data?.id ?? data, seq, at: Date.now() })
          return window.gate
        },
        onLost: (lost) => note({ lost }),
        onClosed: (error) => note({ closed: error?.code ?? 'here' }),
        ...options,
      })
      await window.box.opened
    },
    [nick, options],
  )

export const log = (page) => page.evaluate(() => JSON.parse(sessionStorage.log ?? '[]'))
export const messages = async (page) => (await log(page)).filter((entry) => entry.seq).map((entry) => entry.data)
export const sees = (page, data) => page.waitForFunction((data) => JSON.parse(sessionStorage.log ?? '[]').some((entry) => entry.data === data), data)
export const close = (page) => page.evaluate(() => window.box.close())
/** Closes the last tab, once it knows that it is: only then the mailbox is closed when this resolves. */
export const closeLast = async (page) => {
  await page.waitForFunction(() => window.tabs === 1)
  await close(page)
}

/** Says whether the mailbox took it; several are sent at once. */
export async function publish(mailbox, ...data) {
  const response = await fetch(`${world.gateway.url}/chat/publish`, {
    method: 'POST',
    headers: { Authorization: 'Bearer dev-only-key', 'Content-Type': 'application/json' },
    body: JSON.stringify(data.map((data) => ({ to: { mailboxes: [mailbox] }, data }))),
  })
  const { results } = await response.json()
  return results.every(({ queued }) => queued === 1)
}

/** Ends the only SharedWorker, as a crash would; resolves when it is gone. */
export async function killWorker() {
  const devtools = await world.browser.newBrowserCDPSession()
  const filter = [{ type: 'shared_worker' }]
  const { targetInfos } = await devtools.send('Target.getTargets', { filter })
  assert.equal(targetInfos.length, 1)
  const gone = new Promise((resolve) => devtools.once('Target.targetDestroyed', resolve))
  await devtools.send('Target.setDiscoverTargets', { discover: true, filter })
  await devtools.send('Target.closeTarget', { targetId: targetInfos[0].targetId })
  await gone
  await devtools.detach()
}
