// The ways to read a mailbox. Each gives batches, an empty one where there is only a sign of life. A way
// that is over returns if it ended as planned and throws if it broke. What exactly is wrong with a stream
// is left to the plain read that follows, except that somebody else reads: a read would take the mailbox
// back.

import { request } from './http.js'
import type { Batch, Failure, Message, TransportName } from './wire.js'

export interface Attempt {
  /** Of the mailbox. */
  url: string
  key: string
  cursor: number
  /** Seconds that a read may be held. */
  wait: number
  /** Milliseconds for the answer to a request, on top of that. */
  timeout: number
  /** Ends it. */
  signal: AbortSignal
  /** Set by a transport on which reading on does not confirm. */
  confirm?(cursor: number): void
}

export type Transport = (attempt: Attempt) => AsyncGenerator<Batch, void>

export const DISPLACED = 'displaced'
/** A WebSocket cannot be told to wait: with more batches than this in front of slow callbacks it is closed. */
const MAX_QUEUED_BATCHES = 1000
/** Characters of one event: far more than the gateway puts into one. */
const MAX_EVENT_CHARS = 1 << 26

const NOTHING: Batch = { cursor: 0, lost: 0, messages: [] }
const EVENTS = 'text/event-stream'
const SILENCE = 'silence'
const displaced = (message: string): Failure => ({ code: DISPLACED, status: 409, message })

async function* longPoll({ url, key, cursor, wait, signal }: Attempt) {
  yield { ...NOTHING, ...(await request('GET', `${url}?cursor=${cursor}&wait=${wait}`, { key, signal })) }
}

async function* sse(attempt: Attempt) {
  const { url, key, cursor, timeout, signal } = attempt
  const response = await fetch(`${url}?cursor=${cursor}`, {
    headers: { Accept: EVENTS, Authorization: `Bearer ${key}` },
    cache: 'no-store',
    signal,
  })
  if (!response.ok || !response.headers.get('Content-Type')?.startsWith(EVENTS)) throw `HTTP ${response.status}`
  attempt.confirm = (cursor) => void request('POST', `${url}/confirm?cursor=${cursor}`, { key, timeout }).catch(() => {})
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    text += decoder.decode(value, { stream: true })
    const events = text.split(/\r?\n\r?\n/)
    text = events.pop()!
    if (text.length > MAX_EVENT_CHARS) throw 'too far ahead'
    let batch = { ...NOTHING, messages: [] as Message[] }
    for (const event of events) {
      const field: Record<string, string> = {}
      // By these line ends alone: a message may hold others, and they must not begin a field.
      for (const line of event.split(/\r\n|\n|\r/)) field[line.split(':', 1)[0]!] = line.slice(line.indexOf(':') + 1).trimStart()
      if (!field.data) continue
      const data = JSON.parse(field.data)
      const seq = Number(field.id)
      if (field.event == 'end') {
        yield batch
        throw data.error.code == DISPLACED ? displaced(data.error.message) : data.error.code
      }
      if (field.event == 'lost') {
        // In its place among the messages.
        yield batch
        batch = { cursor: seq, lost: data.lost, messages: [] }
      } else {
        batch.messages.push({ seq, data })
        batch.cursor = seq
      }
    }
    yield batch
  }
}

async function* websocket(attempt: Attempt) {
  const { url, key, cursor, signal } = attempt
  const address = new URL(`${url}?cursor=${cursor}`, globalThis.location?.href)
  // Not in the URL, which proxies log, and a page can set no headers.
  const socket = new WebSocket(address.href.replace(/^http/, 'ws'), ['cometbox.v1.json', `key.${key}`])
  const queue: string[] = []
  let over: unknown
  let wake = () => {}
  const end = (why: unknown) => {
    over ??= why
    socket.close()
    wake()
  }
  // Pings are the browser's and not seen here, so silence is no news: it ends as planned.
  signal.addEventListener('abort', () => end(SILENCE))
  socket.onclose = ({ code, reason }) => end(code == 4409 ? displaced(reason) : code)
  socket.onmessage = ({ data }) => {
    if (queue.push(data) > MAX_QUEUED_BATCHES) end('too far ahead')
    wake()
  }
  attempt.confirm = (cursor) => socket.send(JSON.stringify({ cursor }))
  try {
    for (;;) {
      while (queue[0]) yield { ...NOTHING, ...JSON.parse(queue.shift()!) } as Batch
      if (over == SILENCE) return
      if (over) throw over
      await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    socket.close()
  }
}

/** By preference. */
export const TRANSPORTS: Record<TransportName, Transport> = { websocket, sse, 'long-poll': longPoll }
