// Server-sent events. In a browser EventSource is there already.
import { EventSource } from 'eventsource'

const chat = `${process.env.COMETBOX ?? 'http://127.0.0.1:8080'}/chat/mailboxes`
const opened = await fetch(chat, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: '{"nick":"eve","room":"hall"}',
})
const { mailbox, key } = await opened.json()

// When the connection breaks it comes again by itself, from the last id it got. (Only after a
// refusal, such as a 503 of something on the way, it does not: then make a new one.)
const events = new EventSource(`${chat}/${mailbox}?key=${key}`)
events.onerror = ({ message }) => events.readyState == EventSource.CLOSED && console.log(message)
events.onmessage = ({ data, lastEventId }) => {
  const { from, say } = JSON.parse(data)
  if (say) console.log(`${from}: ${say}`) // otherwise somebody came or went
  // Now and then: what was processed can go.
  if (lastEventId % 100 == 0) fetch(`${chat}/${mailbox}/confirm?key=${key}&cursor=${lastEventId}`, { method: 'POST' })
  if (say == 'bye') events.close()
}
events.addEventListener('lost', ({ data }) => console.log(`${JSON.parse(data).lost} messages were dropped`))
// It is over: closed on purpose, or read by somebody else.
events.addEventListener('end', ({ data }) => {
  console.log(JSON.parse(data).error.message)
  events.close()
})
