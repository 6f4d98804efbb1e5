const COLLECT_EVERY_MS = 500

/** Serves on the port that the command line names. */
export function listen(server) {
  // Publishers rest for longer than the five seconds after which Node.js hangs up.
  server.keepAliveTimeout = 0
  server.listen(Number(process.argv[2]), '127.0.0.1')
  // With --expose-gc: what is garbage is not to be counted as memory of clients.
  if (globalThis.gc) setInterval(globalThis.gc, COLLECT_EVERY_MS)
}
