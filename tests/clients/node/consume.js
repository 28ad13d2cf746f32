'use strict';

const { setTimeout: sleep } = require('node:timers/promises');
const { Consumer, Producer } = require('ali-ons');
const { emit, now, logger } = require('./emit');
const { Unsupported } = require('./args');
const { bodyMatches } = require('./payload');

const UNSUPPORTED = {
  orderly: 'ali-ons has no ordered consumption: it never locks a queue',
  pull: 'ali-ons has a push consumer only',
  litepull: 'ali-ons has a push consumer only',
};

async function consume(args, stop) {
  const kind = args.choice('kind', 'push', 'broadcast', 'orderly', 'pull', 'litepull');
  if (UNSUPPORTED[kind]) throw new Unsupported(UNSUPPORTED[kind]);
  const topic = args.required('topic');
  const first = args.choice('from', 'last', 'first') === 'first';
  const consumer = new Consumer({
    nameSrv: args.required('namesrv').split(';'),
    httpclient: { request: () => Promise.reject(new Error('the name server address is fixed')) },
    consumerGroup: args.required('group'),
    instanceName: args.text('instance', String(process.pid)),
    isBroadcast: kind === 'broadcast',
    consumeFromWhere: first ? 'CONSUME_FROM_FIRST_OFFSET' : 'CONSUME_FROM_LAST_OFFSET',
    parallelConsumeLimit: Math.min(args.number('threads', 4, 1), 32), // the client's pull batch is the most it takes
    logger,
  });
  consumer.on('error', err => logger.error(err));

  const failFirst = args.choice('fail_first', '0', '1') === '1';
  const seen = new Set();
  let received = 0;
  consumer.subscribe(topic, args.text('tag', '*'), async msg => {
    received++;
    emit(description(msg));
    const again = failFirst && msg.reconsumeTimes === 0 && !seen.has(msg.keys);
    if (failFirst) seen.add(msg.keys);
    return again ? Consumer.ACTION_RETRY : undefined;
  });
  await consumer.ready();
  (await Producer.getDefaultProducer()).on('error', err => logger.error(err)); // the consumer's own inner one
  emit({ ev: 'ready' });
  await watchQueues(consumer, topic, stop);
  await Promise.race([ consumer.close().catch(err => logger.error(err)), sleep(10_000) ]);
  emit({ ev: 'done', received });
}

function description(msg) {
  const { pid = '', seq } = msg.properties;
  const number = /^\d+$/.test(seq ?? '') ? Number(seq) : -1;
  return {
    ev: 'recv', key: msg.keys, pid, seq: number, tag: msg.tags, queue: msg.queueId, offset: msg.queueOffset,
    body_ok: msg.keys === `${pid}-${number}` && bodyMatches(msg.body, pid, number),
    reconsume: msg.reconsumeTimes, topic: msg.topic, msgid: msg.msgId, t: now(),
  };
}

/** Prints the owned queues whenever they change, until `stop`. */
async function watchQueues(consumer, topic, stop) {
  let shown;
  while (!stop.aborted) {
    const queues = [];
    for (const { messageQueue } of consumer.processQueueTable.values()) {
      if (messageQueue.topic === topic) queues.push(messageQueue.queueId);
    }
    queues.sort((a, b) => a - b);
    if (shown !== String(queues) && (shown !== undefined || queues.length)) {
      shown = String(queues);
      emit({ ev: 'queues', queues });
    }
    await sleep(200, undefined, { signal: stop }).catch(() => {});
  }
}

module.exports = { consume };
