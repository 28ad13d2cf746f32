"""The verb `consume`."""

import ctypes
import threading

from rocketmq.client import PullConsumer, PushConsumer, RecvMessage
from rocketmq.exceptions import ffi_check
from rocketmq.ffi import MessageModel, _CConsumeStatus, _CMessageQueue, _CPullStatus, dll

from events import Unsupported, body_matches, emit, now

# The C functions of the library leave the starting point out; its C++ method is exported all the same.
_set_consume_from_where = dll._ZN8rocketmq21DefaultMQPushConsumer19setConsumeFromWhereENS_16ConsumeFromWhereE
_set_consume_from_where.argtypes = [ctypes.c_void_p, ctypes.c_int]
_set_consume_from_where.restype = None
_FROM_WHERE = {"last": 0, "first": 4}


class Receiver:
    """Prints what arrives and decides what the driver answers for it."""

    def __init__(self, fail_first):
        self.fail_first = fail_first
        self.received = 0
        self.seen = set()
        self.lock = threading.Lock()

    def listen(self, _consumer, handle):
        # The library hands over all messages of a pull, one by one; from the first that is wanted again it sends back the
        # whole lot, so those behind it are seen first when they come again.
        again = self.show(RecvMessage(handle))
        return (_CConsumeStatus.RECONSUME_LATER if again else _CConsumeStatus.CONSUME_SUCCESS).value

    def show(self, msg):
        """Prints one message and tells whether to ask for it again."""
        t = now()
        key = _text(msg.keys)
        pid, seq = _text(msg["pid"]), _text(msg["seq"])
        number = int(seq) if seq.isdecimal() else -1
        line = {
            "ev": "recv", "key": key, "pid": pid, "tag": _text(msg.tags), "queue": msg.queue_id,
            "offset": msg.queue_offset, "seq": number, "body_ok": key == f"{pid}-{number}" and body_matches(msg.body, pid, number),
            "reconsume": msg.reconsume_times, "topic": msg.topic, "msgid": msg.id, "t": t,
        }
        with self.lock:
            self.received += 1
            emit(line)
            again = self.fail_first and key not in self.seen and msg.reconsume_times == 0
            if self.fail_first:
                self.seen.add(key)
        return again


def _text(value):
    return (value or b"").decode("utf-8", "replace")


def consume(args, stop):
    kind = args.choice("kind", "push", "broadcast", "orderly", "pull", "litepull")
    receiver = Receiver(args.choice("fail_first", "0", "1") == "1")
    if kind in ("push", "broadcast", "orderly"):
        close = push(args, stop, kind, receiver)
    elif kind == "pull" and receiver.fail_first:
        raise Unsupported("fail_first is for listeners")
    elif kind == "pull":
        close = pull(args, stop, receiver)
    else:
        raise Unsupported("the C++ client has one pull consumer, kind=pull")
    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(20)
    with receiver.lock:
        emit({"ev": "done", "received": receiver.received})


def push(args, stop, kind, receiver):
    model = MessageModel.BROADCASTING if kind == "broadcast" else MessageModel.CLUSTERING
    consumer = PushConsumer(args.required("group"), orderly=kind == "orderly", message_model=model)
    consumer.set_namesrv_addr(args.required("namesrv"))
    consumer.set_thread_count(args.number("threads", 4, 1))
    instance = args.text("instance", "")
    if instance:
        consumer.set_instance_name(instance)
    _set_consume_from_where(consumer._handle, _FROM_WHERE[args.choice("from", "last", "first")])
    ffi_check(dll.Subscribe(consumer._handle, args.required("topic").encode(), args.text("tag", "*").encode()))
    # PushConsumer.subscribe() loses the listener's wish for re-delivery: it raises where the library wants a number.
    consumer._register_callback(receiver.listen)
    consumer.start()
    emit({"ev": "ready"})
    stop.wait()
    return consumer.shutdown


def pull(args, stop, receiver):
    """Pulls every queue of the topic in turn: this consumer neither shares queues with its group nor stores offsets."""
    consumer = PullConsumer(args.required("group"))
    consumer.set_namesrv_addr(args.required("namesrv"))
    topic, expression = args.required("topic").encode(), args.text("tag", "*").encode()
    skip = args.choice("from", "last", "first") == "last"
    consumer.start()
    queues, size = ctypes.POINTER(_CMessageQueue)(), ctypes.c_int()
    ffi_check(dll.FetchSubscriptionMessageQueues(consumer._handle, topic, ctypes.pointer(queues), ctypes.pointer(size)))
    offsets = [pull_once(consumer, queues[i], expression, 0, None) if skip else 0 for i in range(size.value)]
    emit({"ev": "ready"})
    emit({"ev": "queues", "queues": sorted(queues[i].queueId for i in range(size.value))})
    while not stop.is_set():
        before = list(offsets)
        for i, offset in enumerate(before):
            offsets[i] = pull_once(consumer, queues[i], expression, offset, receiver)
        if offsets == before:
            stop.wait(0.1)
    return consumer.shutdown


def pull_once(consumer, queue, expression, offset, receiver):
    """Pulls up to 32 messages and returns the next offset; without a receiver, the end of the queue."""
    result = dll.Pull(consumer._handle, ctypes.pointer(queue), expression, offset, 32)
    try:
        if result.pullStatus == _CPullStatus.BROKER_TIMEOUT:
            return offset
        if receiver is None:
            return result.maxOffset
        if result.pullStatus == _CPullStatus.FOUND:
            for i in range(result.size):
                receiver.show(RecvMessage(result.msgFoundList[i]))
        return result.nextBeginOffset
    finally:
        dll.ReleasePullResult(result)
