// Command porcupine judges the registers and locks of a history with another checker than the project's own: Porcupine.
//
// It reads JSON lines as `timbermq-jepsen` leaves them and looks at settings of topics and groups (invariant 23), order locks
// (invariant 15) and groups' offsets (invariant 11), each key for itself. Of offsets it does not know who may move one back,
// which the project's own checker does: here anybody may. Exit codes: 0 linearizable, 1 not, 2 unknown, or it could not be
// read.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchLimit is how long the search for an order may take per kind.
const searchLimit = 60 * time.Second

// callsMax is how many operations on one offset are searched for an order; a group that consumes has many more on its own.
const callsMax = 400

// record is a line of a history.
type record struct {
	Invoke   int64  `json:"invoke"`
	Return   *int64 `json:"return"`
	Outcome  string `json:"outcome"`
	BrokerID *int64 `json:"broker_id"`
	Op       map[string]struct {
		Kind    string  `json:"kind"`
		Name    string  `json:"name"`
		Value   *string `json:"value"`
		Group   string  `json:"group"`
		Topic   string  `json:"topic"`
		Queue   int     `json:"queue"`
		Client  string  `json:"client"`
		Granted bool    `json:"granted"`
		Until   int64   `json:"until"`
		Offset  *int64  `json:"offset"`
	} `json:"op"`
}

// call is what one operation asked of one key.
type call struct {
	key     string
	verb    string // put, get, lock, unlock, store, query
	value   string // of a setting; empty for none
	client  string
	until   int64 // for which time a lock was granted
	level   int64 // an offset, of which 0 is none and 1 is offset 0
	certain bool
	// returned is when the operation can have taken effect at the latest.
	returned int64
}

// setting is the state of a setting: before the first look or change it may be anything.
type setting struct {
	known bool
	value string
}

// holder is the state of a lock: who has it, and until when that was promised. Nobody is "".
type holder struct {
	client string
	until  int64
}

func value(text *string) string {
	if text == nil {
		return ""
	}
	return "=" + *text
}

// read returns the operations on settings, on locks and on offsets.
func read(path string) (settings, locks, offsets []porcupine.Operation, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<30)
	for client := 0; lines.Scan(); client++ {
		var line record
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue // of another kind
		}
		certain := line.Outcome == "" || line.Outcome == "ok"
		if line.Outcome == "fail" {
			continue
		}
		returned := int64(math.MaxInt64)
		if certain && line.Return != nil {
			returned = *line.Return
		}
		for verb, op := range line.Op {
			asked := call{certain: certain, returned: returned}
			into := &settings
			switch verb {
			case "put_config", "get_config":
				asked.key, asked.verb, asked.value = op.Kind+" "+op.Name, verb[:3], value(op.Value)
				if asked.verb == "get" && (!certain || line.BrokerID != nil && *line.BrokerID != 0) {
					continue
				}
			case "lock", "unlock":
				if verb == "lock" && certain && !op.Granted {
					continue
				}
				into = &locks
				asked.key = fmt.Sprintf("%s %s/%d", op.Group, op.Topic, op.Queue)
				asked.verb, asked.client, asked.until = verb, op.Client, op.Until
			case "store_offset", "query_offset":
				if verb == "query_offset" && !certain {
					continue
				}
				into = &offsets
				asked.key = fmt.Sprintf("%s %s/%d", op.Group, op.Topic, op.Queue)
				asked.verb = verb[:5]
				if op.Offset != nil {
					asked.level = *op.Offset + 1
				}
			default:
				continue
			}
			// Every operation is a client of its own: one whose outcome is unknown goes on for ever.
			operation := porcupine.Operation{ClientId: client, Input: asked, Call: line.Invoke, Output: nil, Return: returned}
			*into = append(*into, operation)
		}
	}
	return settings, locks, offsets, lines.Err()
}

// partition parts operations by their key.
func partition(history []porcupine.Operation) [][]porcupine.Operation {
	byKey := map[string][]porcupine.Operation{}
	for _, operation := range history {
		key := operation.Input.(call).key
		byKey[key] = append(byKey[key], operation)
	}
	parts := make([][]porcupine.Operation, 0, len(byKey))
	for _, part := range byKey {
		parts = append(parts, part)
	}
	return parts
}

var settingModel = porcupine.Model{
	Partition: partition,
	Init:      func() interface{} { return setting{} },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		before, asked := state.(setting), input.(call)
		if asked.verb == "put" {
			return true, setting{true, asked.value}
		}
		return !before.known || before.value == asked.value, setting{true, asked.value}
	},
}

var lockModel = porcupine.NondeterministicModel{
	Partition: partition,
	Init:      func() []interface{} { return []interface{}{holder{}} },
	Step: func(state, input, _ interface{}) []interface{} {
		before, asked := state.(holder), input.(call)
		if asked.verb == "unlock" {
			if before.client == asked.client {
				return []interface{}{holder{}}
			}
			return []interface{}{before}
		}
		var after []interface{}
		// Whoever else had it must have expired by the time at which the operation returned.
		if before.client == "" || before.client == asked.client || before.until <= asked.returned {
			after = append(after, holder{asked.client, asked.until})
		}
		if !asked.certain {
			after = append(after, before) // it may have been refused
		}
		return after
	},
}

var offsetModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		for _, part := range partition(history) {
			if len(part) <= callsMax {
				parts = append(parts, part)
			}
		}
		return parts
	},
	Init: func() []interface{} { return []interface{}{int64(0)} },
	Step: func(state, input, _ interface{}) []interface{} {
		before, asked := state.(int64), input.(call)
		switch {
		case asked.verb == "query" && asked.level != before:
			return nil
		case asked.verb == "query" || asked.level == before:
			return []interface{}{before}
		case asked.level < before:
			return []interface{}{before, asked.level} // whoever owns the queue may go back
		default:
			return []interface{}{asked.level}
		}
	},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: porcupine HISTORY.jsonl")
		os.Exit(2)
	}
	settings, locks, offsets, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := 0
	judge := func(what string, model porcupine.Model, history []porcupine.Operation) {
		result := porcupine.CheckOperationsTimeout(model, history, searchLimit)
		fmt.Printf("%s: %d operations: %s\n", what, len(history), result)
		if result == porcupine.Illegal {
			code = 1
		} else if result == porcupine.Unknown && code == 0 {
			code = 2
		}
	}
	judge("settings", settingModel, settings)
	judge("locks", lockModel.ToModel(), locks)
	judge("offsets", offsetModel.ToModel(), offsets)
	os.Exit(code)
}
