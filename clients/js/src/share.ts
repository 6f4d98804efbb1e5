// Brings the tabs of one mailbox together: they talk over a BroadcastChannel with the hub, which lives in
// a SharedWorker or else in the tab that holds a lock. The next tab in the lock's queue takes over when
// the hub's home goes, and every tab holds a lock of its own that tells the hub that it lives.

import { Hub } from './hub.js'
import { locks, type ToHub } from './wire.js'

/** How long the worker may take to start before a tab does its work, in milliseconds. */
const WORKER_START_MS = 3000
export const PREFIX = 'cometbox:'

/** 64 bits (FNV-1a) by which texts are told apart: names of locks and workers may be seen, logged and stored. */
export const digest = (text: string) =>
  new TextEncoder().encode(text).reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n).toString(36)

/** Whether there may be other tabs, and a way to them. */
export const canShare = () => 'document' in globalThis && 'BroadcastChannel' in globalThis

/** Is the hub when nobody else is, until `left`; `join` is that of the tab, where this is one. */
export function lead(name: string, left: Promise<void>, join?: () => ToHub) {
  const hub = () => {
    const first = join?.() // before it listens, or it would hear that twice
    const hub = new Hub(new BroadcastChannel(name), name, first)
    return left.then(() => hub.stop())
  }
  if (!locks) return void hub()
  const queue = new AbortController()
  void left.then(() => queue.abort())
  locks.request(name, { signal: queue.signal }, hub).catch(() => {})
}

/** Starts the worker; resolves when it has had time to, or at once if it cannot. */
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
 * Takes part until `left`: `join` is called when the hub will notice that this tab goes. Resolves when a hub
 * should have answered; if none has, none will where there are no locks.
 */
export async function share(name: string, id: string, join: () => ToHub, left: Promise<void>) {
  if (locks) {
    void locks.request(`${name} ${id}`, () => {
      join()
      return left
    })
  } else {
    join()
  }
  await work(name)
  if (locks) lead(name, left, join)
}
