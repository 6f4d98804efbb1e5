import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from './until.js'

export const root = fileURLToPath(new URL('../..', import.meta.url))
const binary = process.env.COMETBOX_BIN ?? join(root, 'target/debug/cometbox')

/** Building the plugins, and the feed in release mode, may start from nothing. */
const START_MS = 600_000
const STOP_MS = 15_000
/** Of a plugin that was changed, on a busy machine. */
export const BUILD_MS = 120_000

/** `cometbox dev`, in a copy of the project that may be edited. */
export class Gateway {
  #child
  #log = ''

  static async start() {
    const gateway = new Gateway()
    gateway.dir = await mkdtemp(join(tmpdir(), 'cometbox-browser-'))
    await cp(root, gateway.dir, {
      recursive: true,
      filter: (path) => !['target', 'node_modules', '.git'].includes(basename(path)),
    })
    const config = join(gateway.dir, 'cometbox.toml')
    // Admin's port is fixed by default, and may be in use.
    const toml = (await readFile(config, 'utf8')).replace(/^admin *=.*\n/m, '')
    // Its mailboxes are as they are asked to be, such as shared.
    const devices = '[[app]]\nname = "devices"\nplugins = ["tests/plugins/hostile"]\npublish_keys = ["dev-only-key"]\n'
    await writeFile(config, `admin = "127.0.0.1:0"\n${toml}\n${devices}`)
    try {
      gateway.url = await gateway.#run(['dev', '--config', config, '--listen', '127.0.0.1:0'])
    } catch (error) {
      await gateway.stop()
      throw error
    }
    return gateway
  }

  #run(args) {
    this.#child = spawn(binary, args, {
      cwd: this.dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NO_COLOR: '1',
        // Stays between runs, so that only what changed is compiled.
        CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? join(root, 'target/browser'),
      },
    })
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${binary}: ${why}\n${this.#log}`))
      const timer = setTimeout(() => fail('it does not start'), START_MS)
      this.#child.on('error', fail)
      this.#child.on('exit', (code, signal) => fail(`it ended with ${code ?? signal}`))
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          this.#log += text
          const url = this.#log.match(/listening on (http:\/\/127\.0\.0\.1:\d+)/)?.[1]
          if (!url) return
          clearTimeout(timer)
          resolve(url)
        })
      }
    })
  }

  get log() {
    return this.#log
  }

  /** Replaces `from` by `to` in a file of the copy; gives back what undoes it. */
  async edit(file, from, to) {
    const path = join(this.dir, file)
    const before = await readFile(path, 'utf8')
    if (!before.includes(from)) throw new Error(`${file} does not contain ${from}`)
    await writeFile(path, before.replace(from, () => to))
    return () => writeFile(path, before)
  }

  /** What the overlay is told of an app, once it is as wanted. */
  async status(name, wanted = () => true) {
    return until(async () => {
      const { apps } = await (await fetch(`${this.url}/-/dev/status`)).json()
      const app = apps.find((app) => app.name === name)
      return wanted(app) && app
    }, BUILD_MS)
  }

  /** A metric of an app. */
  async metric(name, app) {
    const admin = this.#log.match(/health and metrics on (\S+)/)[1]
    const text = await (await fetch(`${admin}/metrics`)).text()
    return Number(text.match(new RegExp(`^cometbox_${name}\\{app="${app}"\\} (\\d+)$`, 'm'))[1])
  }

  /** Ends it as an operator would. @returns its exit code, or the signal that it took */
  async stop() {
    const child = this.#child
    let code = child?.exitCode ?? child?.signalCode
    if (child?.pid && code === null) {
      const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)))
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      code = await ended
      clearTimeout(timer)
    }
    await rm(this.dir, { recursive: true, force: true })
    return code
  }
}
