// One request to the gateway.

import type { Box, Failure } from './wire.js'

export interface How {
  key?: string
  data?: unknown
  headers?: Record<string, string>
  /** Milliseconds until it is given up: a network that died silently shows only by the answer that does not come. */
  timeout?: number
  /** Ends it instead. */
  signal?: AbortSignal
}

export const isFailure = (error: unknown): error is Failure => typeof (error as Failure | null)?.status == 'number'

/** What is none: nothing came, or nothing that can be understood. */
export const asFailure = (error: unknown): Failure =>
  isFailure(error) ? error : { code: 'network', status: 0, message: `no answer: ${error}` }

/** More than a timer can wait for is no wait at all. */
const MAX_RETRY_AFTER_S = 86_400

/** Gives the answer's JSON, and `retryAfter` in seconds. @throws a `Failure` */
export async function request(method: string, url: string, how: How): Promise<any> {
  const { key, data, headers, timeout = 0, signal = AbortSignal.timeout(timeout) } = how
  const bytes = ArrayBuffer.isView(data) || data instanceof ArrayBuffer || data instanceof Blob
  try {
    const response = await fetch(url, {
      method,
      headers: {
        ...(data !== undefined && { 'Content-Type': bytes ? 'application/octet-stream' : 'application/json' }),
        ...(key && { Authorization: `Bearer ${key}` }),
        ...headers,
      },
      body: bytes ? (data as BodyInit) : JSON.stringify(data),
      cache: 'no-store',
      keepalive: method == 'DELETE', // outlives the page
      signal,
    })
    const { ok, status } = response
    const text = await response.text()
    const retryAfter = Math.min(Number(response.headers.get('Retry-After')) || 0, MAX_RETRY_AFTER_S)
    if (ok) return { retryAfter, ...JSON.parse(text || '{}') }
    let body
    try {
      body = JSON.parse(text).error
    } catch {} // not from the gateway but from something on the way
    const { message = `HTTP ${status}`, code = 'http_error', reason } = body ?? {}
    throw { message, code, status, reason, retryAfter } satisfies Failure
  } catch (error) {
    throw asFailure(error)
  }
}

/** Where a mailbox is read, sent to and closed; `url` is that of its app's mailboxes. */
export const urlOf = (url: string, { mailbox }: Box) => `${url}/${encodeURIComponent(mailbox)}`

const CLOSE_TIMEOUT_MS = 10_000

/** Closes a mailbox. It expires by itself where this does not get through. */
export const close = (url: string, box: Box) =>
  request('DELETE', urlOf(url, box), { key: box.key, timeout: CLOSE_TIMEOUT_MS }).catch(() => {})
