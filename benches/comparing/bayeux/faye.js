// Faye as it comes: node faye.js PORT
import { createServer } from 'node:http'
import faye from 'faye'
import { listen } from './listen.js'

const server = createServer()
new faye.NodeAdapter({ mount: '/bench/bayeux' }).attach(server)
listen(server)
