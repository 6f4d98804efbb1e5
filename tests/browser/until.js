import { setTimeout as pause } from 'node:timers/promises'

const PAUSE_MS = 10

/** What a condition gives, once that is something: for what nobody tells. Rejects if it is not within so many milliseconds. */
export async function until(condition, withinMs = 20_000) {
  const end = performance.now() + withinMs
  for (;;) {
    const found = await condition()
    if (found) return found
    if (performance.now() > end) throw new Error(`waited in vain for ${condition}`)
    await pause(PAUSE_MS)
  }
}
