package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// restAfterError keeps a driver whose every send fails at once from doing nothing but that.
const restAfterError = 20 * time.Millisecond

// restAfterOneway is far longer than answers on loopback take.
const restAfterOneway = time.Second

// The client sends a synchronous message at most 1+sendRetries times.
const sendRetries = 2

type sender struct {
	producer rocketmq.Producer
	payload  payload
	timeout  time.Duration

	mutex      sync.Mutex
	ok, failed int
}

func send(stop context.Context, args arguments) error {
	var namesrv, topic, group, id string
	if err := args.texts(map[string]*string{"namesrv": &namesrv, "topic": &topic, "group": &group, "id": &id}); err != nil {
		return err
	}
	count, queues, batch, rate, bodyBytes, timeoutMS, window, start := 0, 8, 16, 0, 100, 3000, 64, 0
	if err := args.numbers(map[string]*int{
		"count": &count, "queues": &queues, "batch": &batch, "rate": &rate, "body_bytes": &bodyBytes,
		"timeout_ms": &timeoutMS, "window": &window, "start": &start,
	}); err != nil {
		return err
	}
	if queues < 1 || batch < 1 || window < 1 || timeoutMS < 1 {
		return errUsage("queues, batch, window and timeout_ms must be at least 1")
	}
	kind, err := args.choice("kind", "sync", "async", "oneway", "batch", "ordered")
	if err != nil {
		return err
	}
	if _, err := args.choice("trigger", "none"); err != nil {
		return err
	}

	timeout := time.Duration(timeoutMS) * time.Millisecond
	options := []producer.Option{
		producer.WithNameServer(strings.Split(namesrv, ";")),
		producer.WithGroupName(group),
		producer.WithInstanceName(id),
		producer.WithRetry(sendRetries),
		producer.WithSendMsgTimeout(timeout),
		// Not WithDefaultTopicQueueNums: the client tells brokers 4 whatever it is given, and then uses queues that do not exist.
	}
	if kind == "ordered" {
		options = append(options, producer.WithQueueSelector(bySeq{queues}))
	}
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}

	s := &sender{
		producer: p,
		payload:  payload{topic, id, strings.Split(args.text("tags", "TagA,TagB,TagC"), ","), bodyBytes},
		timeout:  timeout,
	}
	step := 1
	if kind == "batch" {
		step = batch
	}
	inFlight := newInFlight(window)
	begin := time.Now()
	for done := 0; count == 0 || done < count; done += step {
		n := step
		if count > 0 {
			n = min(n, count-done)
		}
		if !pace(stop, begin, done, rate) {
			break
		}
		first := start + done
		switch kind {
		case "async":
			s.async(first, inFlight)
		case "oneway":
			s.oneway(first)
		default: // sync, ordered and batch differ in the messages and the queue selector
			s.sync(first, n)
		}
	}
	inFlight.wait(timeout + 10*time.Second)
	if kind == "oneway" {
		// The client does not mark its one-way requests as such, so each is answered. Closing a socket with an answer in it
		// that nobody read resets the connection, and what the kernel had yet to send is lost on this side.
		time.Sleep(restAfterOneway)
	}
	endInTime()
	err = p.Shutdown()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	emit(event{"ev": "done", "ok": s.ok, "failed": s.failed})
	return err
}

// pace waits for the time of message number done at `rate` messages a second; false means stop.
func pace(stop context.Context, begin time.Time, done, rate int) bool {
	var wait time.Duration
	if rate > 0 {
		wait = time.Until(begin.Add(time.Duration(float64(done) / float64(rate) * float64(time.Second))))
	}
	if wait <= 0 {
		return stop.Err() == nil
	}
	select {
	case <-stop.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

func (s *sender) sync(first, n int) {
	messages := make([]*primitive.Message, n)
	for i := range messages {
		messages[i] = s.payload.message(first + i)
	}
	// The client itself waits 3 s for every try, whatever its timeout option says: the deadline makes timeout_ms count.
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout*(1+sendRetries))
	defer cancel()
	t0 := now()
	result, err := s.producer.SendSync(ctx, messages...)
	s.report(first, n, result, err, t0, now())
	if err != nil {
		time.Sleep(restAfterError)
	}
}

func (s *sender) oneway(seq int) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	t0 := now()
	err := s.producer.SendOneWay(ctx, s.payload.message(seq))
	s.report(seq, 1, nil, err, t0, now())
	if err != nil {
		time.Sleep(restAfterError)
	}
}

func (s *sender) async(seq int, flight *inFlight) {
	flight.acquire()
	t0 := now()
	var once sync.Once
	finish := func(result *primitive.SendResult, err error) {
		once.Do(func() {
			s.report(seq, 1, result, err, t0, now())
			flight.release()
		})
	}
	err := s.producer.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
		finish(result, err)
	}, s.payload.message(seq))
	if err != nil {
		finish(nil, err)
		time.Sleep(restAfterError)
		return
	}
	// The client drops the callback of a call whose connection broke in an unlucky moment.
	time.AfterFunc(s.timeout+5*time.Second, func() { finish(nil, errors.New("the client never called back")) })
}

func (s *sender) report(first, n int, result *primitive.SendResult, err error, t0, t1 float64) {
	line := event{"seq": first, "t0": t0, "t1": t1}
	if n > 1 {
		line["n"] = n
	}
	s.mutex.Lock()
	if err != nil {
		s.failed += n
	} else {
		s.ok += n
	}
	s.mutex.Unlock()
	if err != nil {
		line["ev"], line["error"] = "error", err.Error()
		emit(line)
		return
	}
	line["ev"] = "sent"
	if result == nil {
		line["queue"], line["offset"], line["offset_msgid"], line["status"] = -1, -1, "", "ONEWAY"
	} else {
		line["status"] = statusName(result.Status)
		line["offset"] = result.QueueOffset
		line["msgid"] = result.MsgID
		line["offset_msgid"] = result.OffsetMsgID
		if result.MessageQueue != nil {
			line["queue"] = result.MessageQueue.QueueId
		}
	}
	emit(line)
}

func statusName(status primitive.SendStatus) string {
	switch status {
	case primitive.SendOK:
		return "SEND_OK"
	case primitive.SendFlushDiskTimeout:
		return "FLUSH_DISK_TIMEOUT"
	case primitive.SendFlushSlaveTimeout:
		return "FLUSH_SLAVE_TIMEOUT"
	case primitive.SendSlaveNotAvailable:
		return "SLAVE_NOT_AVAILABLE"
	default:
		return fmt.Sprintf("UNKNOWN_%d", status)
	}
}

// bySeq puts message seq into queue seq % queues, counting the queues in order of broker and number.
type bySeq struct{ queues int }

func (b bySeq) Select(msg *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	seq, err := strconv.Atoi(msg.GetProperty("seq"))
	if err != nil {
		return nil
	}
	sorted := append([]*primitive.MessageQueue(nil), queues...)
	sort.Slice(sorted, func(i, j int) bool {
		if sorted[i].BrokerName != sorted[j].BrokerName {
			return sorted[i].BrokerName < sorted[j].BrokerName
		}
		return sorted[i].QueueId < sorted[j].QueueId
	})
	if wanted := seq % b.queues; wanted < len(sorted) {
		return sorted[wanted]
	}
	return nil // the client then reports that it found no route
}

// inFlight bounds the number of asynchronous sends without an outcome.
type inFlight struct{ slots chan struct{} }

func newInFlight(window int) *inFlight { return &inFlight{make(chan struct{}, window)} }

func (f *inFlight) acquire() { f.slots <- struct{}{} }
func (f *inFlight) release() { <-f.slots }

// wait returns when every send has its outcome, at the latest after `limit`.
func (f *inFlight) wait(limit time.Duration) {
	deadline := time.After(limit)
	for range cap(f.slots) {
		select {
		case f.slots <- struct{}{}:
		case <-deadline:
			return
		}
	}
}
