// A WebSocket: messages, confirmations and sends on one connection.
import { WebSocket } from 'ws'

const base = process.env.COMETBOX ?? 'http://127.0.0.1:8080'
const opened = await fetch(`${base}/chat/mailboxes`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: '{"nick":"wes","room":"hall"}',
})
const { mailbox, key } = await opened.json()

const socket = new WebSocket(`${base.replace('http', 'ws')}/chat/mailboxes/${mailbox}`, ['cometbox.v1.json', `key.${key}`])
socket.onopen = () => socket.send(JSON.stringify({ id: 1, send: { who: true } }))
socket.onmessage = ({ data }) => {
  const { id, reply, lost, messages = [], cursor } = JSON.parse(data)
  if (id) return console.log(`here: ${reply.members}`)
  if (lost) console.log(`${lost} messages were dropped`)
  for (const { data } of messages) {
    if (!data.say) continue // somebody came or went
    console.log(`${data.from}: ${data.say}`)
    if (data.say == 'bye') socket.close()
  }
  if (messages.length && socket.readyState == WebSocket.OPEN) socket.send(JSON.stringify({ cursor }))
}
socket.onclose = ({ code, reason }) => code < 4000 || console.log(`${code} ${reason}`)
