'use strict';

const { Message } = require('ali-ons');

/** Message number seq of producer id; the number fully determines the message. */
function message({ topic, id, tags, bodyBytes }, seq) {
  const msg = new Message(topic, tags[seq % tags.length], body(id, seq, bodyBytes));
  msg.keys = [ `${id}-${seq}` ];
  msg.properties.pid = id;
  msg.properties.seq = String(seq);
  return msg;
}

/** "<id>:<seq>:" padded with a letter that depends on seq. */
function body(id, seq, size) {
  return Buffer.from(`${id}:${seq}:`.padEnd(size, filler(seq)));
}

function filler(seq) {
  return String.fromCharCode(97 + seq % 26);
}

/** Whether a received body is what the producer made for pid and seq. Its length is the producer's choice. */
function bodyMatches(received, pid, seq) {
  const text = received ? received.toString('latin1') : '';
  const head = `${pid}:${seq}:`;
  return text.startsWith(head) && text === head.padEnd(text.length, filler(seq));
}

module.exports = { message, bodyMatches };
