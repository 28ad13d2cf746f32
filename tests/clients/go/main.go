// Command driver runs the stock Go client of Apache RocketMQ under the driver
// protocol of tests/clients/PROTOCOL.md: one verb, key=value arguments, JSON
// lines on standard output, `stop` or end of input on standard input.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const clientModule = "github.com/apache/rocketmq-client-go/v2"

// A client that has not shut down after this time is given up.
const shutdownLimit = 90 * time.Second

// errUnsupported says that the stock client has no such function; the text is the reason.
type errUnsupported struct{ why string }

func (e errUnsupported) Error() string { return e.why }

func main() {
	if err := run(os.Args[1:]); err != nil {
		var unsupported errUnsupported
		if errors.As(err, &unsupported) {
			emit(event{"ev": "unsupported", "why": unsupported.why})
			os.Exit(3)
		}
		fmt.Fprintln(os.Stderr, "driver:", err)
		var usage errUsage
		if errors.As(err, &usage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(argv []string) error {
	if len(argv) == 0 {
		return errUsage("usage: driver <send|consume|version> key=value…")
	}
	args, err := parseArgs(argv[0], argv[1:])
	if err != nil {
		return err
	}
	if path := os.Getenv("DRIVER_LOG"); path != "" {
		rlog.SetLogLevel("warn")
		if err := rlog.SetOutputPath(path); err != nil {
			return err
		}
	}
	// The client dereferences the answer that a failed asynchronous send does not have; without a handler that ends the process.
	primitive.PanicHandler = func(cause interface{}) {
		rlog.Warning("panic in the client", map[string]interface{}{"cause": fmt.Sprint(cause)})
	}
	switch argv[0] {
	case "send":
		return send(stopOnInput(), args)
	case "consume":
		return consume(stopOnInput(), args)
	case "version":
		emit(event{"ev": "version", "client": "go", "version": clientVersion()})
		return nil
	default:
		return errUnsupported{"no verb " + argv[0]}
	}
}

// stopOnInput returns a context that ends with the line `stop` or the end of standard input.
func stopOnInput() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer endInTime()
		defer cancel()
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if strings.TrimSpace(lines.Text()) == "stop" {
				return
			}
		}
	}()
	return ctx
}

// endInTime ends the process should the client's shutdown hang.
func endInTime() {
	time.AfterFunc(shutdownLimit, func() { os.Exit(1) })
}

func clientVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == clientModule {
				return strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return "unknown"
}
