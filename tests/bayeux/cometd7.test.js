import { scenarios } from './scenarios.js'

scenarios('cometd 7')
