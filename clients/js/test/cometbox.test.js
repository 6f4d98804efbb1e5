import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CometboxError, connect } from '../cometbox.js'
import { client as anyClient } from './client.js'
import { gateway, memory, messages, opened, refusal } from './gateway.js'

const client = (t, gw, options) => anyClient(t, gw, { transports: ['long-poll'], ...options })

/** Stands in for the window, whose events are told to whom it is given. */
function page(t) {
  const target = new EventTarget()
  for (const f of ['addEventListener', 'removeEventListener']) globalThis[f] = target[f].bind(target)
  t.after(() => ['addEventListener', 'removeEventListener'].forEach((f) => delete globalThis[f]))
  return target
}

test('opens, reads in order and confirms what was handled', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [messages(1, 2), messages(3), 'hold'], DELETE: [[204]] })
  const { box, log, until } = client(t, gw, { open: { nick: 'ann' } })
  assert.deepEqual(await box.opened, { mailbox: 'ann', reply: { hi: 'ann' }, resumed: false })
  await until('m3')
  await gw.until((seen) => seen.length === 4)
  assert.deepEqual(log, ['opened ann', 'online', 'm1', 'm2', 'm3'])
  assert.equal(gw.seen[0].body, '{"nick":"ann"}')
  assert.equal(gw.seen[1].headers.authorization, 'Bearer key-ann')
  assert.deepEqual(
    gw.of('GET').map((r) => r.url),
    ['/chat/mailboxes/ann?cursor=0&wait=25', '/chat/mailboxes/ann?cursor=2&wait=25', '/chat/mailboxes/ann?cursor=3&wait=25'],
  )
})

test('what is sent may say for which channel it is', async (t) => {
  const gw = await gateway(t, { POST: [opened()], SEND: [[200, { reply: 1 }]], GET: ['hold'], DELETE: [[204]] })
  const { box } = client(t, gw)
  assert.deepEqual([await box.send('a'), await box.send('b', 'chat/lobby&ä')], [1, 1])
  const sent = gw.seen.filter(({ method, url }) => method === 'POST' && url !== '/chat/mailboxes')
  assert.deepEqual(sent.map(({ url, body }) => [url, body]), [
    ['/chat/mailboxes/ann', '"a"'],
    ['/chat/mailboxes/ann?channel=chat%2Flobby%26%C3%A4', '"b"'],
  ])
})

test('an option that is undefined has its default', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [({ url }) => (url.includes('wait=0') ? [204] : 'hold')], DELETE: [[204]] })
  client(t, gw, { wait: undefined, timeout: undefined, transports: undefined })
  await gw.until((seen) => seen.at(-1)?.url.endsWith('wait=25'))
  assert.deepEqual(gw.seen.map(({ method }) => method), ['POST', 'WS', 'GET', 'SSE', 'GET', 'GET'])
})

for (const [name, transports] of [['a name that is none', ['ws']], ['one such name among others', ['long-poll', 'SSE']], ['none at all', []]])
  test(`of transports, ${name} is refused at once`, () => {
    const options = { app: 'chat', baseUrl: 'http://127.0.0.1:1', transports }
    assert.throws(() => connect(options), { name: 'TypeError', message: `unknown transports: ${transports}` })
  })

test('does not confirm before the callback is done', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [messages(1), 'hold'] })
  let done
  const { until } = client(t, gw, { onMessage: () => new Promise((resolve) => (done = resolve)) })
  await until('online')
  while (!done) await new Promise(setImmediate)
  assert.equal(gw.of('GET').length, 1)
  done()
  await gw.until((seen) => seen.at(-1)?.url.includes('cursor=1'))
})

test('hands over a message that comes again only once', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [messages(1, 2), 'cut', messages(2, 3), 'hold'] })
  const { log, until } = client(t, gw)
  await until('m3')
  assert.deepEqual(log, ['opened ann', 'online', 'm1', 'm2', 'offline network', 'online', 'm3'])
  assert.match(gw.of('GET')[2].url, /cursor=2&wait=0/, 'after a failure it asks without being held')
})

test('tells what was lost', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [[200, { cursor: 9, lost: 7, messages: [{ seq: 9, data: 'm9' }] }], 'hold'] })
  const { log, until } = client(t, gw)
  await until('m9')
  assert.deepEqual(log.slice(2), ['lost 7', 'm9'])
})

for (const [name, gone] of [
  ['404', refusal(404, 'not_found')],
  ['401', refusal(401, 'unauthorized')],
  ['bad_cursor', refusal(400, 'bad_cursor')],
])
  test(`opens again after ${name}`, async (t) => {
    const gw = await gateway(t, { POST: [opened('a'), opened('b')], GET: [messages(5), gone, messages(1), 'hold'], SEND: [[204]] })
    const { box, log, until } = client(t, gw)
    await until('m1')
    assert.deepEqual(log, ['opened a', 'online', 'm5', `opening ${gone[1].error.code}`, 'opened b', 'online', 'm1'])
    assert.match(gw.of('GET').at(-1).url, /mailboxes\/b\?/)
    assert.equal((await box.opened).mailbox, 'b')
    assert.equal(await box.send(1), undefined)
    assert.equal(gw.of('POST').at(-1).url, '/chat/mailboxes/b')
  })

for (const [code, status] of [['displaced', 409], ['closed', 410], ['forbidden', 403]])
  test(`stops when ${code}`, async (t) => {
    const storage = memory()
    const gw = await gateway(t, { POST: [opened()], GET: [refusal(status, code, { reason: 'so there' })] })
    let why
    const { box, log, until } = client(t, gw, { storage, onClosed: (error) => (why = error) })
    await until(`closed ${code}`)
    await new Promise((resolve) => setTimeout(resolve, 30)) // nothing more may come
    assert.equal(gw.of('GET').length, 1)
    assert.deepEqual([why.code, why.status, why.reason], [code, status, 'so there'])
    assert.equal(box.state, 'closed')
    assert.equal(storage.map.size, code === 'displaced' ? 1 : 0)
    await assert.rejects(box.send('x'), { code })
    assert.equal(log.filter((l) => l.startsWith('closed')).length, 1)
  })

test('a refused opening is final and says why', async (t) => {
  const gw = await gateway(t, { POST: [refusal(409, 'name_taken')] })
  const { box, log } = client(t, gw)
  await assert.rejects(box.opened, (e) => e instanceof CometboxError && e.code === 'name_taken' && e.status === 409 && e.message === 'it is name_taken')
  assert.deepEqual(log, ['closed name_taken', 'over name_taken'])
})

for (const [name, lost] of [['cut', 'cut'], ['answered by a proxy', [504, '<h1>Gateway Timeout</h1>']]])
  test(`an opening that was ${name} may have taken our own name: it is asked for until it is free`, async (t) => {
    const taken = refusal(409, 'name_taken')
    const gw = await gateway(t, { POST: [lost, taken, taken, opened()], GET: ['hold'] })
    const { box, log, until } = client(t, gw)
    await until('online')
    const why = lost === 'cut' ? 'network' : 'http_error'
    assert.deepEqual(log, [`offline ${why}`, 'opening name_taken', 'opening name_taken', 'opened ann', 'online'])
    assert.equal((await box.opened).mailbox, 'ann')
  })

test('an opening that timed out is a lost one, also when it was the second', async (t) => {
  const gw = await gateway(t, {
    POST: [opened('a'), 'hold', refusal(409, 'name_taken'), opened('b')],
    GET: [refusal(404, 'not_found'), 'hold'],
  })
  const { log, until } = client(t, gw, { timeout: 500 })
  await until('opened b')
  assert.deepEqual(log.slice(2), ['opening not_found', 'offline network', 'opening name_taken', 'opened b'])
})

test('a name that stays taken is given up in the end', async (t) => {
  const gw = await gateway(t, { POST: ['cut', refusal(409, 'name_taken')] })
  const { box, log } = client(t, gw, { reclaim: 500 })
  await assert.rejects(box.opened, { code: 'name_taken', status: 409 })
  assert.ok(log.includes('opening name_taken'), 'not at once')
  assert.deepEqual(log.slice(-2), ['closed name_taken', 'over name_taken'])
})

for (const [name, before, ...reads] of [
  ['the gateway itself failed', [refusal(500, 'plugin_failed')]],
  ['an earlier opening was lost and found', ['cut', opened('a')]],
  ['only a read was lost', [opened('a')], 'cut'],
])
  test(`a taken name is final if ${name}`, async (t) => {
    const gw = await gateway(t, { POST: [...before, refusal(409, 'name_taken')], GET: [...reads, refusal(404, 'not_found')] })
    const { log, until } = client(t, gw)
    await until('over name_taken')
    assert.ok(!log.includes('opening name_taken'))
  })

test('a plugin may refuse with a 5xx; that is final too', async (t) => {
  const gw = await gateway(t, { POST: [refusal(503, 'rejected')] })
  const { box } = client(t, gw)
  await assert.rejects(box.opened, { code: 'rejected', status: 503 })
})

test('waits for a gateway that is not there yet, or not itself', async (t) => {
  const gw = await gateway(t, {
    POST: ['cut', refusal(500, 'plugin_failed'), [502, '<h1>Bad Gateway</h1>'], [200, '<h1>Please log in to the wifi</h1>'], opened()],
    GET: ['hold'],
  })
  const { log, until } = client(t, gw)
  await until('online')
  assert.deepEqual(log, ['offline network', 'offline plugin_failed', 'offline http_error', 'offline network', 'opened ann', 'online'])
})

test('honours Retry-After', async (t) => {
  const gw = await gateway(t, {
    POST: [opened()],
    GET: [refusal(503, 'shutting_down', {}, { 'Retry-After': '1' }), messages(1), 'hold'],
  })
  const { until } = client(t, gw)
  await until('m1')
  const [first, second] = gw.of('GET')
  assert.ok(second.at - first.at >= 990, `${second.at - first.at} ms`)
})

test('a read that is not to be held, as too many tabs wait, is not repeated before its time', async (t) => {
  const gw = await gateway(t, {
    POST: [opened()],
    GET: [[204, undefined, { 'Retry-After': '2' }], messages(1), 'hold'],
  })
  const { log, until } = client(t, gw)
  await until('m1')
  const [first, second] = gw.of('GET')
  assert.ok(second.at - first.at >= 1990, `${second.at - first.at} ms`)
  assert.match(second.url, /cursor=0&wait=25/)
  assert.deepEqual(log, ['opened ann', 'online', 'm1'])
})

test('backs off with full jitter, bounded', async (t) => {
  const pauses = []
  const { setTimeout: real } = globalThis
  t.mock.method(Math, 'random', () => 0.5)
  t.mock.method(globalThis, 'setTimeout', (f, ms) => {
    if (ms < 2000) pauses.push(ms)
    return real(f, ms < 2000 ? 0 : ms)
  })
  const gw = await gateway(t, { POST: ['cut'] })
  client(t, gw, { retryMin: 100, retryMax: 1000 })
  await gw.until((seen) => seen.length > 6)
  assert.deepEqual(pauses.slice(0, 6), [50, 100, 200, 400, 500, 500])
})

test('a dead network is noticed by the missing answer', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: ['hold', messages(1), 'hold'] })
  const { log, until } = client(t, gw, { wait: 1, timeout: 500 })
  await until('m1')
  assert.deepEqual(log.slice(2), ['offline network', 'online', 'm1'])
})

for (const event of ['online', 'offline'])
  test(`the ${event} event makes it look at once`, async (t) => {
    const target = page(t)
    const gw = await gateway(t, { POST: [opened()], GET: ['hold', 'cut', messages(1), 'hold'] })
    const { log, until } = client(t, gw, { retryMin: 1e6, retryMax: 1e6 })
    await gw.until(() => gw.of('GET').length === 1)
    target.dispatchEvent(new Event(event)) // during a read: given up, and tried again
    await until('offline network')
    target.dispatchEvent(new Event(event)) // during a pause
    await until('m1')
    assert.deepEqual(log.slice(1), ['online', 'offline network', 'online', 'm1'])
    assert.match(gw.of('GET')[1].url, /wait=0/)
  })

test('an answer that comes too soon, again and again, does not make it run in circles', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [[204]] })
  client(t, gw)
  await gw.until(() => gw.of('GET').length === 2)
  const [first, second] = gw.of('GET')
  assert.ok(second.at - first.at >= 900, `${second.at - first.at} ms`)
})

test('send gives the reply, or an error that tells', async (t) => {
  const gw = await gateway(t, { POST: [opened('ann b')], GET: ['hold'], SEND: [[200, { reply: { members: ['ann'] } }], [204], refusal(404, 'rejected'), 'cut'] })
  const { box } = client(t, gw)
  assert.deepEqual(await box.send({ who: true }), { members: ['ann'] })
  assert.equal(await box.send(new Uint8Array([104, 105])), undefined)
  await assert.rejects(box.send('x'), { name: 'CometboxError', code: 'rejected', status: 404, message: 'it is rejected' })
  await assert.rejects(box.send('x'), { code: 'network', status: 0 })
  const sends = gw.of('POST').slice(1)
  assert.equal(sends[0].url, '/chat/mailboxes/ann%20b')
  assert.deepEqual(sends.map((s) => [s.headers['content-type'], s.body]), [
    ['application/json', '{"who":true}'],
    ['application/octet-stream', 'hi'],
    ['application/json', '"x"'],
    ['application/json', '"x"'],
  ])
})

test('a reload goes on where the page was', async (t) => {
  const storage = memory()
  const on = { POST: [opened()], GET: [messages(1, 2), 'hold'] }
  const gw = await gateway(t, on)
  client(t, gw, { storage, open: { nick: 'ann' } })
  await gw.until(() => gw.of('GET').length === 2) // it has confirmed them
  on.GET = [messages(3), 'hold']
  const { box, log, until } = client(t, gw, { storage, open: { nick: 'ann' } })
  await until('m3')
  assert.deepEqual(log, ['resumed ann', 'online', 'm3'])
  assert.deepEqual(await box.opened, { mailbox: 'ann', reply: { hi: 'ann' }, resumed: true })
  assert.equal(gw.of('POST').length, 1)
  await box.close()
  assert.equal(storage.map.size, 0)
})

test('a stored mailbox that expired is opened anew', async (t) => {
  const storage = memory()
  const on = { POST: [opened('old'), opened('new')], GET: ['hold'], SEND: [[204]] }
  const gw = await gateway(t, on)
  client(t, gw, { storage })
  await gw.until(() => gw.of('GET').length === 1)
  on.GET = [refusal(404, 'not_found'), 'hold']
  const { box, log } = client(t, gw, { storage })
  await box.send('waits for the new one')
  assert.equal(gw.of('POST').at(-1).url, '/chat/mailboxes/new')
  assert.deepEqual(log, ['opening not_found', 'opened new', 'online'])
})

const secret = 'Bearer s3cret'
for (const [name, mine, theirs] of [
  ['somebody else', { user: 'ann' }, { user: 'bob' }],
  ['nobody', { user: 'ann' }, {}],
  ['other headers', { headers: { Authorization: secret } }, { headers: { Authorization: 'Bearer other' } }],
  ['another body', { open: { token: secret } }, { open: { token: 'other' } }],
])
  test(`a stored mailbox is not for ${name}, and does not say whose it is`, async (t) => {
    const storage = memory()
    const gw = await gateway(t, { POST: [opened('mine'), opened('theirs')], GET: [[204]] })
    for (const [options, log] of [[mine, 'opened mine'], [mine, 'resumed mine'], [theirs, 'opened theirs'], [theirs, 'resumed theirs']]) {
      const { until } = client(t, gw, { storage, storageKey: 'k', ...options })
      await until(log)
      assert.doesNotMatch(storage.getItem('k'), /s3cret|ann/)
    }
  })

test('storage is written when something is confirmed, not for every message', async (t) => {
  const storage = memory()
  const writes = t.mock.method(storage, 'setItem')
  const stored = () => JSON.parse(writes.mock.calls.at(-1).arguments[1]).cursor
  const seqs = Array.from({ length: 950 }, (_, i) => i + 1)
  const batches = seqs.map((seq) => messages(seq)[1])
  const gw = await gateway(t, {
    POST: [opened()],
    WS: [{ socket: (ws) => [{ cursor: 0, lost: 0, messages: [] }, ...batches].forEach((batch) => ws.send(JSON.stringify(batch))) }],
  })
  client(t, gw, { storage, transports: ['websocket'] })
  // What the gateway knows as done is never more than what is stored.
  await gw.until((seen) => {
    const { method, body } = seen.at(-1) ?? {}
    if (method !== 'FRAME') return false
    const { cursor } = JSON.parse(body)
    assert.ok(stored() >= cursor, `${stored()} is stored, ${cursor} is confirmed`)
    return cursor === 950
  })
  assert.ok(writes.mock.callCount() <= 12, `${writes.mock.callCount()} times for 950 messages`)
})

test('a page that goes away stores what its callbacks are done with, and no more', async (t) => {
  const target = page(t)
  const storage = memory()
  const stored = () => JSON.parse([...storage.map.values()][0]).cursor
  const gw = await gateway(t, { POST: [opened()], GET: [messages(1, 2, 3), 'hold'] })
  let resolve
  const waits = { 2: new Promise((r) => (resolve = r)), 3: new Promise(() => {}) }
  await new Promise((isAt) => client(t, gw, { storage, onMessage: (data, seq) => (seq === 2 && isAt(), waits[seq]) }))
  target.dispatchEvent(new Event('pagehide'))
  assert.equal(stored(), 1)
  // Whoever waits for the page to go, and is done by then.
  resolve()
  await new Promise(setImmediate)
  assert.equal(stored(), 2)
})

test('close closes the mailbox, also one that was just being opened', async (t) => {
  let answer
  const gw = await gateway(t, { POST: [() => new Promise((resolve) => (answer = resolve))], GET: ['hold'], DELETE: [[204]] })
  const { box, log } = client(t, gw)
  await gw.until((seen) => seen.length === 1)
  await box.close()
  await assert.rejects(box.opened, { code: 'closed' })
  await assert.rejects(box.send('x'), { code: 'closed' })
  answer(opened())
  await gw.until(() => gw.of('DELETE').length === 1)
  assert.equal(gw.of('DELETE')[0].url, '/chat/mailboxes/ann')
  assert.equal(gw.of('GET').length, 0)
  assert.deepEqual(log, ['closed', 'over'])
})

test('close from a callback keeps the rest of the batch back', async (t) => {
  const gw = await gateway(t, { POST: [opened()], GET: [messages(1, 2, 3)], DELETE: [[204]] })
  const got = []
  const { box } = client(t, gw, {
    onMessage(data) {
      got.push(data)
      box.close()
    },
  })
  await gw.until(() => gw.of('DELETE').length === 1)
  assert.deepEqual(got, ['m1'])
})

test('a callback that throws does not stop the others', async (t) => {
  const errors = t.mock.method(console, 'error', () => {})
  const gw = await gateway(t, { POST: [opened()], GET: [messages(1, 2), 'hold'] })
  const { log, until } = client(t, gw, {
    onMessage(data) {
      if (data === 'm1') throw new Error('a bug of the page')
      log.push(data)
    },
  })
  await gw.until((seen) => seen.at(-1)?.url.includes('cursor=2'))
  assert.ok(log.includes('m2'))
  assert.equal(errors.mock.callCount(), 1)
})

test('open may be a function, asked for every opening', async (t) => {
  let n = 0
  const gw = await gateway(t, { POST: [opened('a'), opened('b')], GET: [refusal(404, 'not_found'), 'hold'] })
  const { until } = client(t, gw, { open: async () => ({ n: ++n }), headers: { 'X-Token': 't' } })
  await until('opened b')
  assert.deepEqual(gw.of('POST').map((r) => r.body), ['{"n":1}', '{"n":2}'])
  assert.equal(gw.of('POST')[0].headers['x-token'], 't')
})
