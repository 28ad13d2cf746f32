package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// arguments holds the key=value words of the command line.
type arguments map[string]string

// errUsage is a wrong command line.
type errUsage string

func (e errUsage) Error() string { return string(e) }

// Which keys each verb takes; other verbs are refused before their keys matter.
var keysOf = map[string][]string{
	"send": {
		"namesrv", "topic", "group", "id", "count", "kind", "queues", "batch", "tags", "rate", "body_bytes",
		"timeout_ms", "window", "start", "trigger",
	},
	"consume": {"namesrv", "topic", "group", "tag", "kind", "instance", "from", "threads", "fail_first"},
	"version": {},
}

func parseArgs(verb string, words []string) (arguments, error) {
	args := arguments{}
	known, checked := keysOf[verb]
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if !found || key == "" {
			return nil, errUsage(fmt.Sprintf("argument %q is not key=value", word))
		}
		if checked && !slices.Contains(known, key) {
			return nil, errUsage(fmt.Sprintf("%s has no argument %s", verb, key))
		}
		args[key] = value
	}
	return args, nil
}

func (a arguments) text(key, otherwise string) string {
	if value, given := a[key]; given {
		return value
	}
	return otherwise
}

// choice returns one of the allowed values; the first is the default.
func (a arguments) choice(key string, allowed ...string) (string, error) {
	value := a.text(key, allowed[0])
	if !slices.Contains(allowed, value) {
		return "", errUsage(fmt.Sprintf("argument %s=%s is not one of %s", key, value, strings.Join(allowed, ", ")))
	}
	return value, nil
}

func (a arguments) required(key string) (string, error) {
	if value := a[key]; value != "" {
		return value, nil
	}
	return "", errUsage(fmt.Sprintf("argument %s= is missing", key))
}

func (a arguments) number(key string, otherwise int) (int, error) {
	value, given := a[key]
	if !given {
		return otherwise, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, errUsage(fmt.Sprintf("argument %s=%s is not a number", key, value))
	}
	return n, nil
}

// numbers reads several numeric arguments at once; each pointer holds the default.
func (a arguments) numbers(wanted map[string]*int) error {
	for key, into := range wanted {
		n, err := a.number(key, *into)
		if err != nil {
			return err
		}
		*into = n
	}
	return nil
}

func (a arguments) texts(wanted map[string]*string) error {
	for key, into := range wanted {
		value, err := a.required(key)
		if err != nil {
			return err
		}
		*into = value
	}
	return nil
}
