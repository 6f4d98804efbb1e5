// Brings the tabs of one mailbox together: they talk over a BroadcastChannel with the hub, which lives in
// a SharedWorker or else in the tab that holds a lock. The next tab in the lock's queue takes over when
// the hub's home goes, and every tab holds a lock of its own that tells the hub that it lives.

import { Hub } from './hub.js'
import { locks } from './wire.js'

/** How long the worker may take to start before a tab does its work, in milliseconds. */
const WORKER_START_MS = 3000
export const PREFIX = 'cometbox:'

/** 64 bits (FNV-1a) by which texts are told apart: names of locks and workers may be seen, logged and stored. */
export const digest = (text: string) =>
  new TextEncoder().encode(text).reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n).toString(36)

/** Whether there may be other tabs, and a way to them. */
export const canShare = () => 'document' in globalThis && 'BroadcastChannel' in globalThis

/** Is the hub when nobody else is, until `left`. */
export function lead(name: string, left: Promise<void>) {
  const hub = () => {
    const hub = new Hub(new BroadcastChannel(name), name)
    return left.then(() => hub.stop())
  }
  if (!locks) return void hub()
  const queue = new AbortController()
  void left.then(() => queue.abort())
  locks.request(name, { signal: queue.signal }, hub).catch(() => {})
}

/** Starts the worker; resolves when it is clear that it does not start, or has taken too long. */
const work = (name: string) =>
  new Promise<void>((resolve) => {
    setTimeout(resolve, WORKER_START_MS)
    try {
      // A bundle is more than this module and would run as a whole.
      if (!/\/cometbox\.js$/.test(new URL(import.meta.url).pathname)) throw 0
      new SharedWorker(import.meta.url, { type: 'module', name }).onerror = () => resolve()
    } catch {
      resolve()
    }
  })

/**
 * Takes part: `entered` is called when the hub will notice that this tab goes, `answered` resolves when a
 * hub has answered, and `left` when this tab leaves. Gives false where that turns out to be impossible.
 */
export async function share(name: string, id: string, entered: () => void, answered: Promise<void>, left: Promise<void>) {
  if (locks) {
    void locks.request(`${name} ${id}`, () => {
      entered()
      return left
    })
  } else {
    entered()
  }
  const isAnswered = await Promise.race([answered.then(() => true), left.then(() => true), work(name).then(() => false)])
  if (locks) lead(name, left)
  return isAnswered || !!locks
}
