package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Play sends the requests of a script to a service and says of each whether it
// was answered as the script expects. A line that begins with "#" is printed. Any
// other has columns that two spaces separate:
//
//	PERSON  METHOD HOST/PATH BODY  STATUS TEXT
//
// The people are at the addresses that "PERSON @ ADDRESS" lines give. The body is
// a form's, and TEXT, which may be left out, what the answer has to hold. A person
// shows the "token" of an answer with each later request, and what a member of an
// answer was the last time, "next" for one, stands in later requests as {next}.
func Play(ctx context.Context, addr, script string, out io.Writer) error {
	p := &player{checks: Checks{Out: out}, people: map[string]*person{}, last: map[string]string{}}
	var dialer net.Dialer
	p.client.Transport = &http.Transport{ // whatever a host is called, it is the service
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}
	defer p.client.CloseIdleConnections()
	for lines := bufio.NewScanner(strings.NewReader(script)); lines.Scan(); {
		if err := p.line(ctx, lines.Text()); err != nil {
			return fmt.Errorf("playing %q: %w", lines.Text(), err)
		}
	}
	return p.checks.Err()
}

type player struct {
	checks Checks
	client http.Client
	people map[string]*person
	last   map[string]string // of the members of answers
}

type person struct{ address, token string }

func (p *player) line(ctx context.Context, text string) error {
	if name, address, ok := strings.Cut(text, " @ "); ok {
		p.people[strings.TrimSpace(name)] = &person{address: strings.TrimSpace(address)}
		return nil
	}
	columns := strings.FieldsFunc(strings.ReplaceAll(text, "  ", "\x00"), func(r rune) bool { return r == 0 })
	if len(columns) != 3 {
		fmt.Fprintln(p.checks.Out, text)
		return nil
	}
	for name, value := range p.last {
		columns[1] = strings.ReplaceAll(columns[1], "{"+name+"}", value)
	}
	status, body, err := p.send(ctx, p.people[strings.TrimSpace(columns[0])], columns[1])
	if err != nil {
		return err
	}
	want, holds, _ := strings.Cut(strings.TrimSpace(columns[2]), " ")
	p.checks.That(strconv.Itoa(status) == want && strings.Contains(body, holds), "%-6s %s", strings.TrimSpace(columns[0]), columns[1])
	p.show(status, body)
	return nil
}

// send sends a request through a proxy on this machine, which appends the address
// of the person to the lie that he tells of it.
func (p *player) send(ctx context.Context, who *person, request string) (status int, body string, err error) {
	parts := append(strings.SplitN(request, " ", 3), "")
	r, err := http.NewRequestWithContext(ctx, parts[0], "http://"+parts[1], strings.NewReader(parts[2]))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", "192.0.2.66, "+who.address)
	r.Header.Set("Authorization", who.token)
	answer, err := p.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	p.learn(who, text)
	return answer.StatusCode, strings.TrimSpace(string(text)), err
}

func (p *player) learn(who *person, answer []byte) {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(answer, &members) // what is no object teaches nothing
	for name, value := range members {
		var text string
		if json.Unmarshal(value, &text) == nil && text != "" {
			p.last[name] = text
		}
		for _, element := range elements(value) {
			p.learn(who, element)
		}
	}
	if members["token"] != nil {
		who.token = p.last["token"]
	}
}

// elements returns those of an array, none of anything else.
func elements(value json.RawMessage) (all []json.RawMessage) {
	_ = json.Unmarshal(value, &all)
	return all
}

// show prints an answer, the objects in it on lines of their own.
func (p *player) show(status int, body string) {
	const indent = "\n              "
	lines := strings.NewReplacer(`[{`, `[`+indent+`{`, `},{`, `},`+indent+`{`).Replace(body)
	fmt.Fprintf(p.checks.Out, "          %d %s\n", status, lines)
}
