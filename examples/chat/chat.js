import { connect } from '/cometbox.js'

const $ = (id) => document.getElementById(id)
const [join, room, log, text] = ['join', 'room', 'log', 'text'].map($)
const form = join.querySelector('form')

const STATES = { opening: 'connecting…', online: 'online', offline: 'offline, trying again…', closed: 'disconnected' }
const LOG_MAX = 300

let box
let me // {nick, room}
let members = new Set()
let entries = [] // what the log shows; kept over a reload, as the gateway has it confirmed already

/** Values of a changed plugin may have any shape; a page shows what it gets. */
const string = (value) => (typeof value === 'string' ? value : JSON.stringify(value))

// ---- the mailbox

function enter(as) {
  me = as
  sessionStorage.setItem('chat:me', JSON.stringify(me))
  busy(true)
  box = connect({
    app: 'chat',
    open: me,
    storage: sessionStorage, // after a reload we are still us; otherwise the nick would be in use, by ourselves
    tabs: false, // what we say ourselves is shown only here, so a second window takes over
    onOpen: opened,
    onMessage: received,
    onLost(count) {
      add({ line: `${count} ${count === 1 ? 'message was' : 'messages were'} lost: too many came while you were away`, warn: true })
      askWho() // somebody's coming or going may be among them
    },
    onState: showState,
    onClosed: closed,
  })
}

function opened({ reply, resumed }) {
  const again = !resumed && !room.hidden
  busy(false)
  join.hidden = true
  room.hidden = false
  notice()
  members = new Set(Array.isArray(reply?.members) ? reply.members.map(string) : [])
  entries = resumed ? JSON.parse(sessionStorage.getItem('chat:log') ?? '[]') : []
  if (resumed) askWho()
  const name = string(reply?.room ?? me.room)
  document.title = `#${name} · Cometbox`
  $('title').replaceChildren(`#${name}`, element('small', '', `as ${me.nick}`))
  text.placeholder = `Message to #${name}, or /msg bob psst`
  showMembers()
  log.replaceChildren()
  entries.forEach(show)
  if (again) add({ line: 'Joined anew, after a long time away.' })
  else if (!entries.length && !members.size) add({ line: 'Nobody else is here yet. Open this page in a second window.' })
  text.focus()
}

function received(data) {
  if (data?.joined !== undefined) {
    members.add(string(data.joined))
    add({ line: `${string(data.joined)} joined` })
    showMembers()
  } else if (data?.left !== undefined) {
    members.delete(string(data.left))
    add({ line: `${string(data.left)} left` })
    showMembers()
  } else if (data?.say !== undefined) {
    add({ from: string(data.from ?? '?'), say: string(data.say), to: data.to && string(data.to), history: data.history === true })
  } else {
    add({ line: string(data) })
  }
}

function closed(error) {
  if (!error || room.hidden) return refused(error)
  if (error.code === 'displaced') {
    notice('This chat goes on in another window.', 'Use it here', () => enter(me))
  } else {
    notice(`The chat was closed: ${error.reason ?? error.message}`, 'Join again', () => enter(me))
  }
}

/** Back at the form. */
function refused(error) {
  sessionStorage.removeItem('chat:me')
  sessionStorage.removeItem('chat:log')
  room.hidden = true
  join.hidden = false
  $('lamp').hidden = true
  busy(false)
  const taken = error?.status === 409
  $('error').hidden = !error
  $('error').textContent = taken ? `Somebody called “${me.nick}” is here already. Pick another nick.` : (error?.message ?? '')
  form.nick.focus()
  if (taken) form.nick.select()
}

function askWho() {
  box.send({ who: true }).then(
    (reply) => {
      if (Array.isArray(reply?.members)) members = new Set(reply.members.map(string))
      showMembers()
    },
    () => {}, // the list may be stale until somebody comes or goes
  )
}

// ---- what is typed

async function say(line) {
  const [, command, rest] = line.match(/^\/(\w+)\s*(.*)$/s) ?? []
  if (command === 'who') {
    const reply = await box.send({ who: true }).catch((error) => ({ members: [error.message] }))
    return add({ line: `Here now: ${reply?.members?.map(string).join(', ')}` })
  }
  if (command === 'leave') return box.close()
  const [, to, words] = (command === 'msg' && rest.match(/^(\S+)\s+(.+)$/s)) || []
  if (command && !to) return add({ line: 'Commands: /msg nick text, /who, /leave', warn: true })

  // The gateway sends a message to the others only: what we said ourselves we show ourselves.
  const entry = { from: me.nick, own: true, say: words ?? line, to, pending: true }
  add(entry)
  try {
    await box.send(to ? { to, say: words } : { say: line })
  } catch (error) {
    entry.why = `not sent: ${error.code === 'network' ? 'no connection' : error.message}`
  }
  entry.pending = false
  entry.element?.replaceWith(render(entry))
  keep()
}

form.addEventListener('submit', (event) => {
  event.preventDefault()
  enter({ nick: form.nick.value.trim(), room: form.room.value.trim() })
})

$('compose').addEventListener('submit', (event) => {
  event.preventDefault()
  const line = text.value.trim()
  if (!line || !box || box.state === 'closed') return
  text.value = ''
  say(line)
})

$('leave').addEventListener('click', () => box.close())

// ---- what is shown

function element(tag, className, ...children) {
  const element = document.createElement(tag)
  if (className) element.className = className
  element.append(...children)
  return element
}

function face(nick) {
  let hash = 0
  for (const char of nick) hash = (hash * 31 + char.codePointAt(0)) >>> 0
  const face = element('span', 'face', [...nick][0]?.toUpperCase() ?? '')
  face.style.setProperty('--hue', (hash * 137) % 360)
  face.ariaHidden = 'true'
  return face
}

function add(entry) {
  entries.push(entry)
  show(entry)
  if (entries.length > LOG_MAX) {
    entries.shift()
    log.firstElementChild.remove()
  }
  keep()
}

function keep() {
  sessionStorage.setItem('chat:log', JSON.stringify(entries, (key, value) => (key === 'element' || key === 'pending' ? undefined : value)))
}

function show(entry, index = entries.length - 1) {
  // Whoever scrolled up is reading; do not pull the page away.
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60
  const before = entries[index - 1]
  entry.follows = !entry.line && before?.from === entry.from && before?.to === entry.to && !before.why && before.history === entry.history
  log.append(render(entry))
  if (atEnd || entry.own) log.scrollTop = log.scrollHeight
}

function render(entry) {
  const { line, warn, from, to, say, own, history, pending, follows, why } = entry
  if (line !== undefined) return (entry.element = element('p', warn ? 'line warn' : 'line', line))
  const by = element('span', 'by', element('b', '', own ? 'you' : from))
  if (to) by.append(own ? ` to ${to}, privately` : ' to you, privately')
  const message = element('div', 'message', ...(own ? [] : [face(from)]), by, element('div', 'bubble', say))
  message.classList.toggle('own', !!own)
  for (const [name, on] of Object.entries({ private: to, history, pending, follows, failed: why })) message.classList.toggle(name, !!on)
  if (why) message.append(element('div', 'why', why))
  return (entry.element = message)
}

function showMembers() {
  const others = [...members].filter((nick) => nick !== me.nick).sort((a, b) => a.localeCompare(b))
  $('count').textContent = others.length + 1
  $('members').replaceChildren(
    element('li', '', element('span', 'me', face(me.nick), element('span', '', me.nick, element('small', '', ' (you)')))),
    ...others.map((nick) => {
      const button = element('button', '', face(nick), nick)
      button.title = `Write to ${nick} privately`
      button.addEventListener('click', () => {
        text.value = `/msg ${nick} `
        text.focus()
      })
      return element('li', '', button)
    }),
  )
}

function showState(state, error) {
  const lamp = $('lamp')
  lamp.hidden = false
  lamp.dataset.state = state
  lamp.textContent = STATES[state]
  lamp.title = error?.message ?? ''
}

function notice(words, action, run) {
  const element = $('notice')
  element.hidden = !words
  text.disabled = !!words
  if (!words) return
  const button = element.querySelector('button')
  element.querySelector('span').textContent = words
  button.textContent = action
  button.onclick = run
}

function busy(on) {
  form.querySelector('button').disabled = on
  form.querySelector('button').textContent = on ? 'Joining…' : 'Join'
  $('error').hidden = true
}

// ---- start: as who we were before a reload, or as the address says

const asked = new URLSearchParams(location.search)
const before = JSON.parse(sessionStorage.getItem('chat:me') ?? 'null')
const nick = asked.get('nick') ?? before?.nick ?? ''
form.nick.value = nick
form.room.value = asked.get('room') ?? before?.room ?? 'lobby'
if (nick) enter({ nick, room: form.room.value })
