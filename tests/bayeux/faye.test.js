import { scenarios } from './scenarios.js'

scenarios('faye')
