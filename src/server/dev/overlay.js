// Put into every HTML page by `cometbox dev`: says on the page what became of the last save.
;(() => {
  const STATUS = '/-/dev/status'
  const EVERY_MS = 1000
  const GONE_MS = 5000
  const TOAST_MS = 4000

  // A shadow root: neither the page's styles nor ours leak into the other.
  const host = document.createElement('cometbox-dev')
  const root = host.attachShadow({ mode: 'open' })
  root.innerHTML = `
    <style>
      :host { all: initial; position: fixed; inset: 0 0 auto 0; z-index: 2147483647; pointer-events: none;
        color-scheme: dark; font: 14px/1.5 system-ui, sans-serif; }
      #stack { display: flex; flex-direction: column; align-items: center; gap: 8px; padding: 12px; }
      #error, #note { box-sizing: border-box; max-width: 100%; color: #eef0ff; background: #15182b;
        border: 1px solid #343a5c; box-shadow: 0 8px 30px rgb(0 0 0 / 40%); pointer-events: auto; }
      #error { display: flex; flex-direction: column; width: 860px; max-height: min(60vh, 460px);
        border-radius: 12px; border-top: 3px solid #ff6b66; overflow: hidden; }
      #error header { display: flex; align-items: center; justify-content: space-between; gap: 12px;
        padding: 8px 8px 8px 16px; }
      #error strong { color: #ff8f8a; font-weight: 600; }
      #error button { padding: 2px 12px; border: 1px solid #454c75; border-radius: 8px; color: inherit;
        background: none; font: inherit; cursor: pointer; }
      #error button:hover { background: #232844; }
      button:focus-visible, pre:focus-visible { outline: 2px solid #8f95ff; outline-offset: -2px; }
      pre { flex: 1; min-height: 0; margin: 0; padding: 4px 16px 16px; overflow: auto; white-space: pre; tab-size: 4;
        font: 13px/1.5 ui-monospace, 'SF Mono', 'Cascadia Code', 'DejaVu Sans Mono', monospace; }
      #note { padding: 5px 14px; border-radius: 999px; font-size: 13px; pointer-events: none; }
      #note::before { content: ''; display: inline-block; width: 8px; height: 8px; margin-right: 8px;
        border-radius: 50%; background: #4fd1a1; }
      #note.building::before { background: #f0b95a; animation: pulse .7s ease-in-out infinite alternate; }
      @keyframes pulse { to { opacity: .2; } }
      @media (prefers-reduced-motion: reduce) { #note::before { animation: none !important; } }
      [hidden] { display: none !important; }
    </style>
    <div id="stack">
      <section id="error" role="alert" hidden>
        <header><strong></strong><button type="button">Dismiss</button></header>
        <pre tabindex="0"></pre>
      </section>
      <div id="note" role="status" hidden></div>
    </div>`
  const [error, note] = [root.getElementById('error'), root.getElementById('note')]
  const title = error.querySelector('strong')
  const text = error.querySelector('pre')
  const dismiss = error.querySelector('button')

  const versions = new Map() // of each app, as last seen
  let dismissed = ''
  let shown = ''
  let toastUntil = 0

  dismiss.addEventListener('click', () => {
    dismissed = shown
    error.hidden = true
  })

  function show({ apps }) {
    const failed = apps.filter((app) => app.state === 'failed')
    // Compilers colour their output.
    shown = failed.map((app) => `${app.name}\n${app.error ?? ''}`.replace(/\x1b\[[\d;]*m/g, '')).join('\n\n')
    if (!failed.length) dismissed = ''
    error.hidden = !failed.length || shown === dismissed
    const names = failed.map((app) => app.name).join(', ')
    const before = failed.some((app) => app.version > 0)
    title.textContent = `${names} failed${before ? '; the version before it goes on serving' : ''}`
    const words = failed.length === 1 ? shown.slice(names.length + 1) : shown
    if (text.textContent !== words) text.textContent = words // not each time: it would lose what is selected

    const live = apps.filter((app) => versions.has(app.name) && versions.get(app.name) !== app.version)
    for (const app of apps) versions.set(app.name, app.version)
    const building = apps.filter((app) => app.state === 'building').map((app) => app.name)
    if (live.length) {
      toastUntil = Date.now() + TOAST_MS
      say(live.map((app) => `${app.name} v${app.version} is live`).join(', '), 'live')
    } else if (building.length) {
      say(`building ${building.join(', ')}…`, 'building')
    } else if (note.className === 'building' || Date.now() > toastUntil) {
      note.hidden = true
    }
  }

  function say(words, kind) {
    note.hidden = false
    note.className = kind
    if (note.textContent !== words) note.textContent = words
  }

  let timer
  async function look() {
    clearTimeout(timer)
    if (document.hidden) return // goes on when the page is looked at
    let pause = EVERY_MS
    try {
      const response = await fetch(STATUS, { cache: 'no-store' })
      if (!response.ok) throw new Error()
      show(await response.json())
    } catch {
      pause = GONE_MS
    }
    clearTimeout(timer)
    timer = setTimeout(look, pause)
  }

  document.addEventListener('visibilitychange', look)
  document.documentElement.append(host)
  look()
})()
