package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// chunkSize is what a client's write is read with at once.
	chunkSize = 64 << 10

	// queued is how many chunks may be on the way in one direction.
	queued = 4096

	maxStartup = 10_000 // PostgreSQL's own limit
)

// The codes of first packets, in the place of a version.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// link is one connection of a client's with the server's end of it.
type link struct {
	proxy *Proxy

	mu             sync.Mutex // guards the ends until done, and the wait
	client, server net.Conn
	closed         bool
	done           chan struct{}

	conn     int // its number
	wait     wait
	prepared map[string]string // texts by name, of the goroutine that reads the client
}

// chunk is what was read at once, and when the other side may have it.
type chunk struct {
	due  time.Time
	data []byte
}

// run carries what both sides send until the server has nothing more to say.
func (l *link) run() error {
	packet, code, err := readStartup(l.client)
	if err != nil {
		return nil // a client that went away, or a port scanner
	}
	server, err := l.proxy.dial()
	if err != nil {
		return fmt.Errorf("connecting to the server: %w", err)
	}
	if !l.attach(server) {
		return server.Close()
	}
	fromClient, fromServer := &scanner{keep: maxText, message: l.asked}, &scanner{message: l.answered}
	if code == cancelRequest { // no messages follow
		fromClient.message, fromServer.message = func(byte, []byte) {}, func(byte, []byte) {}
	} else {
		l.conn = l.proxy.number()
	}
	up, down := make(chan chunk, queued), make(chan chunk, queued)
	l.push(up, packet)

	var others sync.WaitGroup
	others.Go(func() { l.read(l.client, up, fromClient.scan) })
	others.Go(func() { l.write(l.server, up, func([]byte) {}) })
	others.Go(func() { l.read(l.server, down, func([]byte) {}) })
	l.write(l.client, down, fromServer.scan)
	l.close()
	others.Wait()
	return nil
}

// readStartup returns the first packet that is for the server. Encryption is
// refused, as by a server that has none.
func readStartup(client net.Conn) (packet []byte, code uint32, err error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(client, head[:]); err != nil {
			return nil, 0, err
		}
		size := int(binary.BigEndian.Uint32(head[:4]))
		if size < len(head) || size > maxStartup {
			return nil, 0, errors.New("no startup packet")
		}
		code = binary.BigEndian.Uint32(head[4:])
		if code == sslRequest || code == gssRequest {
			if _, err := client.Write([]byte{'N'}); err != nil {
				return nil, 0, err
			}
			continue
		}
		packet = make([]byte, size)
		copy(packet, head[:])
		_, err = io.ReadFull(client, packet[len(head):])
		return packet, code, err
	}
}

// read queues what comes from one side, for the other.
func (l *link) read(from net.Conn, queue chan<- chunk, seen func([]byte)) {
	defer close(queue)
	buffer := make([]byte, chunkSize)
	for {
		n, err := from.Read(buffer)
		seen(buffer[:n])
		if n > 0 && !l.push(queue, slices.Clone(buffer[:n])) || err != nil {
			return
		}
	}
}

// push reports whether anybody is left to take the chunk.
func (l *link) push(queue chan<- chunk, data []byte) bool {
	due := time.Now().Add(time.Duration(l.proxy.delay.Load()))
	select {
	case queue <- chunk{due, data}:
		return true
	case <-l.done:
		return false
	}
}

// write hands over each chunk when it is due, and the end of the stream.
func (l *link) write(to net.Conn, queue <-chan chunk, seen func([]byte)) {
	for c := range queue {
		if !l.sleepUntil(c.due) {
			return
		}
		seen(c.data)
		if _, err := to.Write(c.data); err != nil {
			return // what the server said last may still be on its way
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (l *link) sleepUntil(due time.Time) bool {
	d := time.Until(due)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

// attach gives the link its other end, unless it was closed meanwhile.
func (l *link) attach(server net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.server = server
	}
	return !l.closed
}

// close may be called more than once. The goroutines notice by themselves.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	_ = l.client.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
}

// reset closes without a last word: what the client has not read yet is lost.
func (l *link) reset() {
	if tcp, ok := l.client.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.close()
}
