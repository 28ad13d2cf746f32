'use strict';

const fs = require('node:fs');
const { Console } = require('node:console');

/** Writes one JSON line. The write is synchronous: no line is lost when the process ends. */
function emit(event) {
  const line = Buffer.from(JSON.stringify(event) + '\n');
  for (let at = 0; at < line.length;) {
    try {
      at += fs.writeSync(1, line, at);
    } catch (err) {
      if (err.code !== 'EAGAIN') process.exit(1); // nobody reads the results any more
    }
  }
}

/** CLOCK_MONOTONIC in milliseconds: the one clock that all drivers on a host share. */
function now() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** What the client wants to say goes to a file. */
const file = fs.createWriteStream(process.env.DRIVER_LOG ?? '/dev/null', { flags: 'a' });
const talk = new Console(file, file);
const logger = { debug() {}, info() {}, warn: bounded, error: bounded };

/** While a broker is away the client says so thousands of times a second; the file keeps the beginning. */
let linesLeft = 5000;
function bounded(...words) {
  if (linesLeft-- > 0) talk.log(...words);
}

module.exports = { emit, now, logger };
