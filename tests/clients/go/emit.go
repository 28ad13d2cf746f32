package main

import (
	"encoding/json"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// event is one JSON line of the driver protocol.
type event map[string]any

var stdout sync.Mutex

// emit writes one line with a single write, so that lines of several goroutines never mix.
func emit(e event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // events hold only text, numbers and booleans
	}
	stdout.Lock()
	defer stdout.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(1) // nobody reads the results any more
	}
}

// now returns CLOCK_MONOTONIC in milliseconds: the one clock that all drivers on a host share.
func now() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the clock exists on every Linux
	}
	return float64(t.Sec)*1e3 + float64(t.Nsec)/1e6
}
