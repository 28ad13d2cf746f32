"""The verb `send`."""

import itertools
import threading
import time

from rocketmq.client import Message, Producer, SendStatus
from rocketmq.exceptions import RocketMQException, ffi_check
from rocketmq.ffi import SEND_EXCEPTION_CALLBACK, SEND_SUCCESS_CALLBACK, dll

from events import Unsupported, body, emit, now

_STATUS = {
    SendStatus.OK: "SEND_OK",
    SendStatus.FLUSH_DISK_TIMEOUT: "FLUSH_DISK_TIMEOUT",
    SendStatus.FLUSH_SLAVE_TIMEOUT: "FLUSH_SLAVE_TIMEOUT",
    SendStatus.SLAVE_NOT_AVAILABLE: "SLAVE_NOT_AVAILABLE",
}


# While any thread of the library connects, sends of the others fail at once, all five attempts within a millisecond: its waits for
# the lock around the connections are to last 3 s, but end without waiting ("get timed_mutex timeout" in its log). Its first heartbeat,
# 10 ms after the start, connects to every broker that it knows of by then; a sender that knows none yet makes all connections itself.
FIRST_HEARTBEAT_S = 0.3
# Keeps a driver whose every send fails at once from doing nothing but that.
REST_AFTER_ERROR_S = 0.02


class Sender:
    def __init__(self, args):
        self.topic = args.required("topic")
        self.pid = args.required("id")
        self.tags = args.text("tags", "TagA,TagB,TagC").split(",")
        self.body_bytes = args.number("body_bytes", 100)
        self.queues = args.number("queues", 8, 1)
        self.timeout_ms = args.number("timeout_ms", 3000, 1)
        self.ok = self.failed = 0
        self.totals = threading.Lock()
        self.producer = Producer(args.required("group"), timeout=self.timeout_ms)
        self.producer.set_namesrv_addr(args.required("namesrv"))
        ffi_check(dll.SetProducerInstanceName(self.producer._handle, self.pid.encode()))

    def message(self, seq):
        msg = Message(self.topic)
        msg.set_keys(f"{self.pid}-{seq}")
        msg.set_tags(self.tags[seq % len(self.tags)])
        msg.set_body(body(self.pid, seq, self.body_bytes))
        msg.set_property("pid", self.pid)
        msg.set_property("seq", str(seq))
        return msg

    def sync(self, seq):
        self.attempt(seq, lambda: self.producer.send_sync(self.message(seq)))

    def oneway(self, seq):
        self.attempt(seq, lambda: self.producer.send_oneway(self.message(seq)))

    def ordered(self, seq):
        # The library's own selector takes the argument modulo the number of queues that it sees.
        self.attempt(seq, lambda: self.producer.send_orderly(self.message(seq), seq % self.queues))

    def attempt(self, seq, call):
        t0 = now()
        try:
            result = call()
        except RocketMQException as error:
            self.report_error(seq, error, t0)
            time.sleep(REST_AFTER_ERROR_S)
        else:
            self.report_sent(seq, result, t0)

    def report_sent(self, seq, result, t0):
        line = {"ev": "sent", "seq": seq, "t0": t0, "t1": now()}
        if result is None:
            line.update(queue=-1, offset=-1, offset_msgid="", status="ONEWAY")
        else:
            line.update(offset=result.offset, msgid=result.msg_id, status=_STATUS[result.status])
        with self.totals:
            self.ok += 1
        emit(line)

    def report_error(self, seq, error, t0):
        line = {"ev": "error", "seq": seq, "error": error if isinstance(error, str) else f"{type(error).__name__}: {error}", "t0": t0, "t1": now()}
        with self.totals:
            self.failed += 1
        emit(line)


class Flight:
    """One asynchronous send. The callbacks must outlive the call, so the object stays in a list until it is retired."""

    def __init__(self, sender, seq, slots):
        self.sender, self.seq, self.slots = sender, seq, slots
        self.msg = sender.message(seq)
        self.landed = threading.Lock()
        self.on_sent = SEND_SUCCESS_CALLBACK(self.sent)
        self.on_error = SEND_EXCEPTION_CALLBACK(lambda error: self.error(_async_error(error)))

    def start(self):
        self.t0 = now()
        try:
            ffi_check(dll.SendMessageAsync(self.sender.producer._handle, self.msg, self.on_sent, self.on_error))
        except RocketMQException as error:
            self.error(error)
            time.sleep(REST_AFTER_ERROR_S)

    def sent(self, pointer):
        from rocketmq.client import SendResult

        found = pointer.contents
        result = SendResult(SendStatus(found.sendStatus), found.msgId.decode(), found.offset)
        if self.landed.acquire(blocking=False):
            self.sender.report_sent(self.seq, result, self.t0)
            self.slots.release()

    def error(self, error):
        if self.landed.acquire(blocking=False):
            self.sender.report_error(self.seq, error, self.t0)
            self.slots.release()


def _async_error(error):
    text = error.msg.decode("utf-8", "replace") or "no reason given"
    return f"{error.type.decode() or 'MQException'}: {text} (code {error.error})"


class Flights:
    """The asynchronous sends; at most `window` of them have no outcome yet."""

    def __init__(self, sender, window):
        self.sender, self.window = sender, window
        self.slots = threading.Semaphore(window)
        self.all = []
        # The library tries a message up to six times before it calls back with an error.
        self.patience_s = 10 + 7 * sender.timeout_ms / 1000

    def start(self, seq):
        if not self.slots.acquire(timeout=self.patience_s):
            self.give_up()
            self.slots.acquire()
        if len(self.all) >= 2 * self.window + 1024:
            # A callback may still be returning: the newest ones are kept.
            old, self.all = self.all[:-self.window - 64], self.all[-self.window - 64:]
            self.all[:0] = [flight for flight in old if not flight.landed.locked()]
        flight = Flight(self.sender, seq, self.slots)
        self.all.append(flight)
        flight.start()

    def give_up(self):
        for flight in self.all:
            flight.error("TimeoutError: the client never called back")

    def finish(self):
        for _ in range(self.window):
            if not self.slots.acquire(timeout=self.patience_s):
                self.give_up()
                return


def send(args, stop):
    kind = args.choice("kind", "sync", "async", "oneway", "batch", "ordered")
    args.choice("trigger", "none")
    if kind == "batch":
        raise Unsupported("the C++ client marks a batch by batch=1, which a stock broker reads as false and stores as one message")
    count = args.number("count", 0)
    rate = args.number("rate", 0)
    first = args.number("start", 0)
    args.number("batch", 16, 1)
    window = args.number("window", 64, 1)
    sender = Sender(args)
    sender.producer.start()
    time.sleep(FIRST_HEARTBEAT_S)
    flights = Flights(sender, window)
    act = flights.start if kind == "async" else getattr(sender, kind)

    begin = now()
    for done in itertools.count():
        wait_s = (begin + done * 1000 / rate - now()) / 1000 if rate else 0
        if (count and done >= count) or stop.wait(max(wait_s, 0)):
            break
        act(first + done)
    if kind == "async":
        flights.finish()
    closing = threading.Thread(target=sender.producer.shutdown, daemon=True)
    closing.start()
    closing.join(10)
    with sender.totals:
        emit({"ev": "done", "ok": sender.ok, "failed": sender.failed})
