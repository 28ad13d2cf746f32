package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// receiver prints what arrives and decides what the driver answers for it.
type receiver struct {
	failFirst bool
	again     consumer.ConsumeResult // the answer that asks for re-delivery

	mutex    sync.Mutex
	received int
	seen     map[string]bool
	queues   []int
	observed bool
}

func consume(stop context.Context, args arguments) error {
	var namesrv, topic, group string
	if err := args.texts(map[string]*string{"namesrv": &namesrv, "topic": &topic, "group": &group}); err != nil {
		return err
	}
	threads := 4
	if err := args.numbers(map[string]*int{"threads": &threads}); err != nil {
		return err
	}
	failFirst, err := args.choice("fail_first", "0", "1")
	if err != nil {
		return err
	}
	start, err := args.choice("from", "last", "first")
	if err != nil {
		return err
	}
	kind, err := args.choice("kind", "push", "broadcast", "orderly", "pull", "litepull")
	if err != nil {
		return err
	}
	r := &receiver{failFirst: failFirst == "1", again: consumer.ConsumeRetryLater, seen: map[string]bool{}}

	from := consumer.ConsumeFromLastOffset
	if start == "first" {
		from = consumer.ConsumeFromFirstOffset
	}
	options := []consumer.Option{
		consumer.WithNameServer(strings.Split(namesrv, ";")),
		consumer.WithGroupName(group),
		consumer.WithConsumeFromWhere(from),
		consumer.WithConsumeGoroutineNums(max(threads, 1)),
		consumer.WithStrategy(r.allocate(topic)),
	}
	if instance := args.text("instance", ""); instance != "" {
		options = append(options, consumer.WithInstance(instance))
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: args.text("tag", "*")}

	switch kind {
	case "push":
		return r.push(stop, topic, selector, options)
	case "broadcast":
		return r.push(stop, topic, selector, append(options, consumer.WithConsumerModel(consumer.BroadCasting)))
	case "orderly":
		r.again = consumer.SuspendCurrentQueueAMoment
		return r.push(stop, topic, selector, append(options, consumer.WithConsumerOrder(true)))
	case "litepull":
		if r.failFirst {
			return errUnsupported{"fail_first is for listeners"}
		}
		return r.poll(stop, topic, selector, options)
	default:
		return errUnsupported{"the Go client's pull consumer shares the queues with its group and commits: kind=litepull"}
	}
}

func (r *receiver) push(stop context.Context, topic string, selector consumer.MessageSelector, options []consumer.Option) error {
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return err
	}
	err = c.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return r.receive(messages), nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	emit(event{"ev": "ready"})
	<-stop.Done()
	return r.finish(c.Shutdown())
}

func (r *receiver) poll(stop context.Context, topic string, selector consumer.MessageSelector, options []consumer.Option) error {
	c, err := rocketmq.NewPullConsumer(options...)
	if err != nil {
		return err
	}
	if err := c.Subscribe(topic, selector); err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	emit(event{"ev": "ready"})
	for stop.Err() == nil {
		request, err := c.Poll(stop, time.Second)
		if err != nil {
			continue // the only error is that nothing came within the second
		}
		c.ACK(context.Background(), request, r.receive(request.GetMsgList()))
	}
	return r.finish(c.Shutdown())
}

func (r *receiver) finish(err error) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	emit(event{"ev": "done", "received": r.received})
	return err
}

func (r *receiver) receive(messages []*primitive.MessageExt) consumer.ConsumeResult {
	result := consumer.ConsumeSuccess
	for _, msg := range messages {
		if r.one(msg) {
			result = r.again
		}
	}
	return result
}

// one prints a message and tells whether to ask for it again.
func (r *receiver) one(msg *primitive.MessageExt) bool {
	t := now()
	key, pid := msg.GetKeys(), msg.GetProperty("pid")
	seq, err := strconv.Atoi(msg.GetProperty("seq"))
	if err != nil {
		seq = -1
	}
	line := event{
		"ev": "recv", "key": key, "pid": pid, "tag": msg.GetTags(), "offset": msg.QueueOffset,
		"seq": seq, "body_ok": key == fmt.Sprintf("%s-%d", pid, seq) && bodyMatches(msg.Body, pid, seq),
		"reconsume": msg.ReconsumeTimes, "topic": msg.Topic, "msgid": msg.MsgId, "t": t,
	}
	if msg.Queue != nil {
		line["queue"] = msg.Queue.QueueId
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.received++
	emit(line)
	first := r.failFirst && !r.seen[key] && msg.ReconsumeTimes == 0
	if r.failFirst {
		r.seen[key] = true
	}
	return first
}

// allocate is the client's default strategy, watched: the client offers no other view of the queues that a member owns.
func (r *receiver) allocate(topic string) consumer.AllocateStrategy {
	return func(group, member string, all []*primitive.MessageQueue, members []string) []*primitive.MessageQueue {
		mine := consumer.AllocateByAveragely(group, member, all, members)
		if len(all) > 0 && all[0].Topic == topic {
			numbers := make([]int, 0, len(mine))
			for _, queue := range mine {
				numbers = append(numbers, queue.QueueId)
			}
			slices.Sort(numbers)
			r.showQueues(numbers)
		}
		return mine
	}
}

func (r *receiver) showQueues(numbers []int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if !r.observed || !slices.Equal(numbers, r.queues) {
		r.observed, r.queues = true, numbers
		emit(event{"ev": "queues", "queues": numbers})
	}
}
