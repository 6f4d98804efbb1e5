// Run by browser.test.js. Each test has a room and nicks of its own, as a seat outlives its page.
import assert from 'node:assert/strict'
import { BUILD_MS } from './gateway.js'
import { chat, leave, lines, online, openWindow, say, sees, test, world } from './world.js'

test('two windows chat', async (t) => {
  const ann = await chat(t, 'ann', 'two')
  const bob = await chat(t, 'bob', 'two')
  await sees(ann, 'bob joined')
  await say(ann, 'hi')
  await sees(bob, 'hi')
  await say(bob, 'hello ann')
  await say(bob, 'how are you?')
  await sees(ann, 'how are you?')
  await say(ann, 'fine')
  await say(ann, '/msg bob psst')
  await say(ann, '/msg zoe are you there?')
  await say(ann, '<b>not markup</b>')
  await sees(bob, '<b>not markup</b>')
  assert.deepEqual((await lines(bob)).slice(-6), [
    'ann: hi',
    'you: hello ann',
    'you: how are you?',
    'ann: fine',
    'ann to you, privately: psst',
    'ann: <b>not markup</b>',
  ])
  assert.deepEqual((await lines(ann)).slice(1), [
    'bob joined',
    'you: hi',
    'bob: hello ann',
    'bob: how are you?',
    'you: fine',
    'you to bob, privately: psst',
    'you to zoe, privately: are you there? (not sent: zoe is not here)',
    'you: <b>not markup</b>',
  ])
  assert.equal(await bob.textContent('#count'), '2')

  const cat = await chat(t, 'cat', 'two')
  await sees(cat, '<b>not markup</b>')
  const history = await cat.$$eval('.message.history .bubble', (all) => all.map((e) => e.textContent))
  assert.deepEqual(history, ['hi', 'hello ann', 'how are you?', 'fine', '<b>not markup</b>'], 'without what was private')

  await leave(bob)
  await sees(ann, 'bob left')
  assert.deepEqual(await ann.$$eval('#members .face + *, #members button', (all) => all.map((e) => e.textContent)), ['ann (you)', 'Ccat'])
})

test('a nick that is in use is refused kindly', async (t) => {
  await chat(t, 'dan', 'taken')
  const other = await openWindow(t, `/chat/?nick=dan&room=taken`)
  const error = other.locator('#join #error')
  await error.waitFor()
  assert.match(await error.textContent(), /“dan” is here already/)
  await other.fill('[name=nick]', 'dan2')
  await other.click('#join button')
  await online(other)
})

test('nothing is missing and nothing doubled after the network was away', async (t) => {
  const eve = await chat(t, 'eve', 'away')
  const fay = await chat(t, 'fay', 'away')
  const said = []
  const next = async () => {
    said.push(`line ${said.length}`)
    await say(eve, said.at(-1))
  }
  await next()
  await sees(fay, said.at(-1))

  await fay.context().setOffline(true)
  await fay.waitForSelector('#lamp[data-state=offline]')
  for (let i = 0; i < 5; i++) await next()
  // This one comes while it reconnects.
  await Promise.all([fay.context().setOffline(false), next()])
  await online(fay)
  for (let i = 0; i < 5; i++) await next()
  await sees(fay, said.at(-1))
  assert.deepEqual(
    (await lines(fay)).filter((line) => line.includes('line ')),
    said.map((words) => `eve: ${words}`),
  )
  assert.ok(!(await lines(eve)).includes('fay left'), 'the seat was kept')
})

test('what is sent without a network is shown as not sent', async (t) => {
  const gus = await chat(t, 'gus', 'unsent')
  await gus.context().setOffline(true)
  await say(gus, 'lost words')
  assert.ok((await lines(gus)).includes('you: lost words (not sent: no connection)'))
  await gus.context().setOffline(false)
  await online(gus)
  await say(gus, 'back')
  assert.ok((await lines(gus)).includes('you: back'))
})

test('a reload of the page keeps mailbox, nick and what was said', async (t) => {
  const hal = await chat(t, 'hal', 'reload')
  const ida = await chat(t, 'ida', 'reload')
  await say(ida, 'before')
  await sees(hal, 'before')
  await say(hal, 'mine')
  const until = await lines(hal)
  for (let i = 0; i < 3; i++) {
    const sent = say(ida, `during ${i}`)
    await hal.reload()
    await sent
    await online(hal)
    await sees(hal, `during ${i}`)
  }
  await say(ida, 'after')
  await sees(hal, 'after')
  assert.deepEqual(await lines(hal), [...until, 'ida: during 0', 'ida: during 1', 'ida: during 2', 'ida: after'])
  assert.deepEqual(
    (await lines(ida)).filter((line) => / (left|joined)$/.test(line)),
    [],
    'nobody left or joined',
  )
  await hal.waitForFunction(() => document.querySelector('#count').textContent === '2')
})

test('a second window takes the mailbox over, and gives it back', async (t) => {
  const jon = await chat(t, 'jon', 'takeover')
  const second = await jon.context().newPage()
  const session = await jon.evaluate(() => ({ ...sessionStorage }))
  await second.addInitScript((session) => {
    if (!sessionStorage.length) for (const key in session) sessionStorage[key] = session[key]
  }, session)
  await second.goto(`${world.gateway.url}/chat/`)
  await online(second)
  await jon.waitForSelector('#notice:not([hidden])')
  assert.match(await jon.textContent('#notice'), /another window/)
  await jon.click('#notice button')
  await online(jon)
  await second.waitForSelector('#notice:not([hidden])')
})

test('saving the plugin changes both open pages, and a broken one does no harm', { timeout: 4 * BUILD_MS }, async (t) => {
  const source = 'plugins/chat/src/lib.rs'
  const built = { timeout: BUILD_MS }
  const kim = await chat(t, 'kim', 'reloaded')
  const lee = await chat(t, 'lee', 'reloaded')
  const pages = [kim, lee]
  for (const page of pages) await page.evaluate(() => (window.sameDocument = true))
  await say(kim, 'quiet')
  await sees(lee, 'quiet')
  const overlay = (page, selector, options) => page.locator(`cometbox-dev ${selector}`, options)
  const { version } = await world.gateway.status('chat')
  const live = (version) =>
    Promise.all(pages.map((page) => overlay(page, '#note', { hasText: `chat v${version} is live` }).waitFor(built)))

  const undo = await world.gateway.edit(source, '"say": say, "room": room}', '"say": say.to_uppercase(), "room": room, "mood": {"loud": true}}')
  await live(version + 1)
  await say(kim, 'loud')
  await sees(lee, 'LOUD')
  await say(lee, 'me too')
  await sees(kim, 'ME TOO')

  const repair = await world.gateway.edit(source, 'cometbox_guest::export!(Chat);', 'const BROKEN: u32 = "text";\ncometbox_guest::export!(Chat);')
  await Promise.all(pages.map((page) => overlay(page, '#error').waitFor(built)))
  assert.match(await overlay(lee, '#error pre').textContent(), /mismatched types/)
  await say(kim, 'the old one serves')
  await sees(lee, 'THE OLD ONE SERVES')
  await overlay(kim, '#error button').click()
  assert.equal(await overlay(kim, '#error').isVisible(), false)

  await repair()
  const repaired = await world.gateway.status('chat', (app) => app.state === 'ok')
  await overlay(lee, '#error').waitFor({ state: 'hidden' })
  await undo()
  await live(repaired.version + 1)
  await say(kim, 'quiet again')
  await sees(lee, 'quiet again')

  for (const page of pages) {
    assert.equal(await page.evaluate(() => window.sameDocument), true, 'no page was reloaded')
    assert.equal((await lines(page)).filter((line) => / (left|joined)$|away/.test(line)).length, page === kim ? 1 : 0, 'nobody was thrown out')
  }
})
