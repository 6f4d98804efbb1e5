// One request to the gateway.

import type { Failure } from './wire.js'

export interface How {
  key?: string
  data?: unknown
  headers?: Record<string, string>
  /** Milliseconds until it is given up. */
  timeout: number
  signal?: AbortSignal
}

/** Nothing came, or nothing that can be understood. */
export const noAnswer = (why: unknown): Failure => ({ code: 'network', status: 0, message: `no answer: ${why}` })

export const isFailure = (error: unknown): error is Failure =>
  typeof error == 'object' && typeof (error as Failure | null)?.status == 'number'

export const asFailure = (error: unknown) => (isFailure(error) ? error : noAnswer(error))

/** Gives the answer's JSON, nothing if it has no body. @throws a `Failure` */
export async function request(method: string, url: string, how: How): Promise<any> {
  const { key, data, headers, timeout, signal } = how
  const controller = new AbortController()
  const abort = () => controller.abort()
  signal?.addEventListener('abort', abort)
  // A network that died silently shows only by the answer that does not come.
  const timer = setTimeout(abort, timeout)
  const bytes = [ArrayBuffer, DataView, Blob, Uint8Array].some((type) => data instanceof type)
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
      signal: controller.signal,
    })
    const { ok, status } = response
    const text = await response.text()
    if (ok) return text ? JSON.parse(text) : undefined
    let body
    try {
      body = JSON.parse(text).error
    } catch {} // not from the gateway but from something on the way
    const { message = `HTTP ${status}`, code = 'http_error', reason } = body ?? {}
    throw { message, code, status, reason, retryAfter: Number(response.headers.get('Retry-After')) || 0 } satisfies Failure
  } catch (error) {
    throw asFailure(error)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** Where a mailbox is read, sent to and closed; `url` is that of its app's mailboxes. */
export const urlOf = (url: string, mailbox: string) => `${url}/${encodeURIComponent(mailbox)}`

const CLOSE_TIMEOUT_MS = 10_000

/** Closes a mailbox. It expires by itself where this does not get through. */
export const close = (url: string, key: string) => request('DELETE', url, { key, timeout: CLOSE_TIMEOUT_MS }).catch(() => {})
