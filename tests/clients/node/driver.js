'use strict';

// Runs the stock Node client ali-ons under the driver protocol of tests/clients/PROTOCOL.md: one verb, key=value
// arguments, JSON lines on standard output, `stop` or end of input on standard input.

const readline = require('node:readline');
const { emit } = require('./emit');
const { Arguments, Unsupported, Usage } = require('./args');
const { send } = require('./send');
const { consume } = require('./consume');

/** A client that has not shut down after this time is given up. */
const SHUTDOWN_LIMIT_MS = 90_000;

async function main([verb, ...words]) {
  if (!verb) throw new Usage('usage: driver <send|consume|version> key=value…');
  const args = new Arguments(verb, words);
  switch (verb) {
    case 'send':
      return send(args, stopOnInput());
    case 'consume':
      return consume(args, stopOnInput());
    case 'version':
      return emit({ ev: 'version', client: 'node', version: require('ali-ons/package.json').version });
    default:
      throw new Unsupported(`no verb ${verb}`);
  }
}

/** An AbortSignal that fires with the line `stop` or the end of standard input. */
function stopOnInput() {
  const stop = new AbortController();
  readline.createInterface({ input: process.stdin })
    .on('line', line => line.trim() === 'stop' && stop.abort())
    .on('close', () => stop.abort());
  stop.signal.addEventListener('abort', () => setTimeout(() => process.exit(1), SHUTDOWN_LIMIT_MS));
  return stop.signal;
}

// The client keeps timers and an inner producer alive for ever, so the process has to end itself.
main(process.argv.slice(2)).then(
  () => process.exit(0),
  err => {
    if (err instanceof Unsupported) {
      emit({ ev: 'unsupported', why: err.message });
      process.exit(3);
    }
    console.error(err instanceof Usage ? err.message : err);
    process.exit(err instanceof Usage ? 2 : 1);
  }
);
