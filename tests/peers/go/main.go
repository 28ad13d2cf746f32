// A load on NATS JetStream through the official client: load servers=URL,… size=BYTES.
//
// Each line "WINDOW WARMUP_MS TIME_MS RATE" on stdin is one run: with a RATE of 0 WINDOW messages are always under way, else
// RATE are due in a second, whatever becomes of those before, as long as no more than WINDOW are under way. Events go to stdout, one JSON object a line: ready, begin,
// measured, end. It ends with its stdin.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	stream  = "BENCH"
	subject = "bench"
	// answerMax is the longest wait for the last answers.
	answerMax = 20 * time.Second
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	var servers string
	var size int
	for _, arg := range os.Args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "servers":
			servers = value
		case "size":
			if _, err := fmt.Sscan(value, &size); err != nil {
				return fmt.Errorf("size: %w", err)
			}
		default:
			return fmt.Errorf("unknown argument %s", arg)
		}
	}
	bodies := newBodies(size, 0)
	t, err := open(strings.Split(servers, ","))
	if err != nil {
		return err
	}
	defer t.connection.Close()
	say(`{"ev":"ready"}`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var window int
		var warmupMs, timeMs, rate int64
		if _, err := fmt.Sscan(lines.Text(), &window, &warmupMs, &timeMs, &rate); err != nil {
			return fmt.Errorf("%q: %w", lines.Text(), err)
		}
		if err := t.purge(); err != nil {
			return err
		}
		if err := loop(t, bodies, window, rate, time.Duration(warmupMs)*time.Millisecond, time.Duration(timeMs)*time.Millisecond); err != nil {
			return err
		}
	}
	return lines.Err()
}

type target struct {
	connection *nats.Conn
	js         jetstream.JetStream
	stream     jetstream.Stream
}

// open makes the stream and connects to the server that leads it: any other would pass every message on.
func open(servers []string) (*target, error) {
	t := &target{}
	if err := t.connect(servers[0]); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config := jetstream.StreamConfig{Name: stream, Subjects: []string{subject}, Storage: jetstream.FileStorage, Replicas: 3}
	var err error
	for t.stream, err = t.create(ctx, config); err != nil; t.stream, err = t.create(ctx, config) {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("making the stream: %w", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	info, err := t.stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	// Servers are called n0, n1, n2, in the order of the arguments.
	leader := slices.IndexFunc([]string{"n0", "n1", "n2"}, func(name string) bool { return name == info.Cluster.Leader })
	if leader < 0 || leader >= len(servers) {
		return nil, fmt.Errorf("the stream is led by %q", info.Cluster.Leader)
	}
	t.connection.Close()
	if err := t.connect(servers[leader]); err != nil {
		return nil, err
	}
	t.stream, err = t.js.Stream(ctx, stream)
	return t, err
}

// create makes the stream if it can be made just now: servers that do not know a leader yet do not answer.
func (t *target) create(ctx context.Context, config jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return t.js.CreateOrUpdateStream(ctx, config)
}

func (t *target) connect(server string) (err error) {
	if t.connection, err = nats.Connect(server, nats.NoReconnect()); err != nil {
		return err
	}
	// The window is kept by the loop; the client's own bound must not be in its way.
	t.js, err = jetstream.New(t.connection, jetstream.WithPublishAsyncMaxPending(1<<16))
	return err
}

// purge takes away what earlier runs left, so that every run begins with the same disk.
func (t *target) purge() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return t.stream.Purge(ctx)
}

// sent is a message under way, since it was sent or, at a fixed rate, was due.
type sent struct {
	at     time.Duration
	future jetstream.PubAckFuture
}

// loop keeps a window of messages under way: one is sent when another was answered. With a rate it sends them when they are
// due, or later if the window is full.
func loop(t *target, bodies *bodies, window int, rate int64, warmup, duration time.Duration) error {
	start := time.Now()
	from, to := warmup, warmup+duration
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		time.Sleep(from)
		say(`{"ev":"begin"}`)
		time.Sleep(time.Until(start.Add(to)))
		say(`{"ev":"measured"}`)
	}()
	free := make(chan struct{}, window)
	for range window {
		free <- struct{}{}
	}
	underway := make(chan sent, window)
	settled := make(chan tally)
	go func() { settled <- settle(start, from, to, underway, free) }()
	var failed error
	for number := int64(0); time.Since(start) < to; number++ {
		var due time.Duration
		if rate > 0 {
			if due = time.Duration(number * int64(time.Second) / rate); due >= to {
				break
			}
			time.Sleep(due - time.Since(start))
		}
		<-free
		at := time.Since(start)
		if rate > 0 {
			at = due
		}
		future, err := t.js.PublishAsync(subject, bodies.take())
		if err != nil {
			failed = err
			break
		}
		underway <- sent{at, future}
	}
	close(underway)
	told := <-settled
	<-announced
	if failed != nil {
		return failed
	}
	slices.Sort(told.latencies)
	quantile := func(q float64) int64 {
		if len(told.latencies) == 0 {
			return 0
		}
		return told.latencies[int(q*float64(len(told.latencies)-1))].Microseconds()
	}
	say(fmt.Sprintf(`{"ev":"end","messages":%d,"errors":%d,"warmupErrors":%d,"p50Us":%d,"p99Us":%d,"maxUs":%d}`,
		told.acknowledged, told.errors, told.warmupErrors, quantile(0.5), quantile(0.99), quantile(1)))
	return nil
}

type tally struct {
	acknowledged, errors, warmupErrors int64
	latencies                          []time.Duration
}

// settle hears the answers, in the order of the messages: a stream has one.
func settle(start time.Time, from, to time.Duration, underway <-chan sent, free chan<- struct{}) tally {
	var told tally
	deadline := time.NewTimer(time.Until(start.Add(to + answerMax)))
	defer deadline.Stop()
	for message := range underway {
		stored := false
		select {
		case <-message.future.Ok():
			stored = true
		case <-message.future.Err():
		case <-deadline.C:
			// The others will not be answered either: their turn comes at once.
			deadline.Reset(0)
		}
		now := time.Since(start)
		measured := message.at >= from && message.at < to
		switch {
		case stored:
			if now >= from && now < to {
				told.acknowledged++
			}
			if measured {
				told.latencies = append(told.latencies, now-message.at)
			}
		case measured:
			told.errors++
		default:
			told.warmupErrors++
		}
		free <- struct{}{}
	}
	return told
}

func say(event string) {
	fmt.Println(event)
}
