'use strict';

const { setTimeout: sleep } = require('node:timers/promises');
const { Producer } = require('ali-ons');
const { emit, now, logger } = require('./emit');
const { Unsupported } = require('./args');
const { message } = require('./payload');

const UNSUPPORTED = {
  oneway: 'ali-ons awaits the answer of every send',
  batch: 'ali-ons sends single messages only',
  ordered: 'ali-ons takes a sharding key, no queue selector, and sends keys that hash to queue 0 to any queue',
};

/** Keeps a driver whose every send fails at once from doing nothing but that. */
const REST_AFTER_ERROR_MS = 20;

async function send(args, stop) {
  const kind = args.choice('kind', 'sync', 'async', 'oneway', 'batch', 'ordered');
  if (UNSUPPORTED[kind]) throw new Unsupported(UNSUPPORTED[kind]);
  args.choice('trigger', 'none');
  const payload = {
    topic: args.required('topic'),
    id: args.required('id'),
    tags: args.text('tags', 'TagA,TagB,TagC').split(','),
    bodyBytes: args.number('body_bytes', 100),
  };
  const count = args.number('count', 0);
  const rate = args.number('rate', 0);
  const start = args.number('start', 0);
  // The client has asynchronous sends only: a synchronous one is a window of one message.
  const window = kind === 'async' ? args.number('window', 64, 1) : 1;
  const timeoutMs = args.number('timeout_ms', 3000, 1);
  const producer = new Producer({
    nameSrv: args.required('namesrv').split(';'),
    httpclient: { request: () => Promise.reject(new Error('the name server address is fixed')) },
    producerGroup: args.required('group'),
    instanceName: payload.id,
    sendMsgTimeout: timeoutMs,
    defaultTopicQueueNums: args.number('queues', 8, 1),
    logger,
  });
  producer.on('error', err => logger.error(err));
  await producer.ready();
  (await Producer.getDefaultProducer()).on('error', err => logger.error(err)); // its own inner one

  const outcome = { ok: 0, failed: 0 };
  const inFlight = new Set();
  const begin = now();
  for (let i = 0; (count === 0 || i < count) && await pace(stop, begin, i, rate); i++) {
    const flight = one(producer, payload, start + i, outcome).finally(() => inFlight.delete(flight));
    inFlight.add(flight);
    while (inFlight.size >= window) await Promise.race(inFlight);
  }
  // Every send ends by itself: the client gives up after its timeout and a second.
  await Promise.all(inFlight);
  await Promise.race([ producer.close().catch(err => logger.error(err)), sleep(5000) ]);
  emit({ ev: 'done', ...outcome });
}

/** Waits for the time of message number i at `rate` messages a second; false means stop. */
async function pace(stop, begin, i, rate) {
  if (stop.aborted) return false;
  const wait = rate > 0 ? begin + i * 1000 / rate - now() : 0;
  if (wait > 0) {
    await sleep(wait, undefined, { signal: stop }).catch(() => {});
  } else if (i % 64 === 0) {
    await sleep(0); // lets the line `stop` in
  }
  return !stop.aborted;
}

async function one(producer, payload, seq, outcome) {
  const msg = message(payload, seq);
  const t0 = now();
  try {
    const result = await producer.send(msg);
    outcome.ok++;
    emit({
      ev: 'sent', seq, queue: result.messageQueue.queueId, offset: Number(result.queueOffset),
      msgid: result.msgId, offset_msgid: result.msgId, status: result.sendStatus, t0, t1: now(),
    });
  } catch (err) {
    outcome.failed++;
    emit({ ev: 'error', seq, error: `${err.name}: ${err.message}`, t0, t1: now() });
    await sleep(REST_AFTER_ERROR_MS);
  }
}

module.exports = { send };
