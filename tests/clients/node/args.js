'use strict';

/** The stock client has no such function; the message is the reason. */
class Unsupported extends Error {}

/** A wrong command line. */
class Usage extends Error {}

/** Which keys each verb takes; other verbs are refused before their keys matter. */
const KEYS = {
  send: 'namesrv topic group id count kind queues batch tags rate body_bytes timeout_ms window start trigger'.split(' '),
  consume: 'namesrv topic group tag kind instance from threads fail_first'.split(' '),
  version: [],
};

/** The key=value words of the command line. */
class Arguments {
  constructor(verb, words) {
    this.values = new Map();
    for (const word of words) {
      const at = word.indexOf('=');
      if (at < 1) throw new Usage(`argument "${word}" is not key=value`);
      if (KEYS[verb]?.includes(word.slice(0, at)) === false) throw new Usage(`${verb} has no argument ${word.slice(0, at)}`);
      this.values.set(word.slice(0, at), word.slice(at + 1));
    }
  }

  text(key, otherwise) {
    return this.values.get(key) ?? otherwise;
  }

  required(key) {
    const value = this.values.get(key);
    if (!value) throw new Usage(`argument ${key}= is missing`);
    return value;
  }

  number(key, otherwise, least = 0) {
    const value = this.values.get(key);
    if (value === undefined) return otherwise;
    const n = Number(value);
    if (!Number.isSafeInteger(n) || n < least) throw new Usage(`argument ${key}=${value} is not a number of at least ${least}`);
    return n;
  }

  /** One of the allowed values; the first is the default. */
  choice(key, ...allowed) {
    const value = this.text(key, allowed[0]);
    if (!allowed.includes(value)) throw new Usage(`argument ${key}=${value} is not one of ${allowed.join(', ')}`);
    return value;
  }
}

module.exports = { Arguments, Unsupported, Usage };
