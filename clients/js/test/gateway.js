import { createServer } from 'node:http'
import { once } from 'node:events'

/**
 * A gateway that says what the test tells it to. `on.POST`, `on.GET` and so on are lists of answers,
 * used one after the other; the last one stays. An answer is `[status, body, headers]`, a function
 * that returns one, `'hold'` (never answered) or `'cut'` (the connection breaks).
 */
export async function gateway(t, on) {
  const seen = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { method, url, headers } = request
    seen.push({ method, url, body, headers, at: Date.now() })
    server.emit('seen')
    const name = method === 'POST' && !url.endsWith('/mailboxes') ? 'SEND' : method
    const answers = on[name] ?? [[500]]
    let answer = answers.length > 1 ? answers.shift() : answers[0]
    if (typeof answer === 'function') answer = await answer(seen.at(-1))
    if (answer === 'hold') return
    if (answer === 'cut') return request.socket.destroy()
    const [status, json, more = {}] = answer
    response.writeHead(status, { 'Content-Type': 'application/json', ...more })
    response.end(typeof json === 'string' ? json : json && JSON.stringify(json))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    baseUrl: `http://127.0.0.1:${server.address().port}`,
    seen,
    of: (method) => seen.filter((r) => r.method === method),
    /** Resolves once the gateway has seen what `condition` asks for. */
    async until(condition) {
      while (!condition(seen)) await once(server, 'seen')
    },
  }
}

export const opened = (mailbox = 'ann', cursor = 0) => [201, { mailbox, key: `key-${mailbox}`, cursor, reply: { hi: mailbox } }]
export const messages = (...seqs) => [
  200,
  { cursor: seqs.at(-1), lost: 0, messages: seqs.map((seq) => ({ seq, data: `m${seq}` })) },
]
export const refusal = (status, code, more = {}, headers = {}) => [status, { error: { code, message: `it is ${code}`, ...more } }, headers]

/** Stands in for `sessionStorage`. */
export function memory() {
  const map = new Map()
  return {
    map,
    getItem: (k) => map.get(k) ?? null,
    setItem: (k, v) => void map.set(k, v),
    removeItem: (k) => void map.delete(k),
  }
}
