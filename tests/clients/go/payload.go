package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// payload describes the messages of one producer: number seq fully determines the message.
type payload struct {
	topic     string
	id        string
	tags      []string
	bodyBytes int
}

func (p payload) message(seq int) *primitive.Message {
	msg := primitive.NewMessage(p.topic, body(p.id, seq, p.bodyBytes))
	msg.WithTag(p.tags[seq%len(p.tags)])
	msg.WithKeys([]string{fmt.Sprintf("%s-%d", p.id, seq)})
	msg.WithProperty("pid", p.id)
	msg.WithProperty("seq", strconv.Itoa(seq))
	return msg
}

// body is "<id>:<seq>:" padded with a letter that depends on seq.
func body(id string, seq, size int) []byte {
	text := []byte(fmt.Sprintf("%s:%d:", id, seq))
	if missing := size - len(text); missing > 0 {
		text = append(text, bytes.Repeat([]byte{filler(seq)}, missing)...)
	}
	return text
}

func filler(seq int) byte { return byte('a' + seq%26) }

// bodyMatches tells whether a received body is what the producer made for pid and seq. Its length is the producer's choice.
func bodyMatches(received []byte, pid string, seq int) bool {
	head := fmt.Sprintf("%s:%d:", pid, seq)
	rest, found := strings.CutPrefix(string(received), head)
	return found && strings.Trim(rest, string(filler(seq))) == ""
}
