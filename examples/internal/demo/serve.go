package demo

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"
)

// Statuses are the statuses that a service answers its errors with. An error that
// is not among them is the service's own fault.
type Statuses map[error]int

// JSON returns a handler that answers with what f returns. Of an error it tells the
// status alone, for its text is not for clients.
func (s Statuses) JSON(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := f(r)
		if err != nil {
			http.Error(w, http.StatusText(s.of(err)), s.of(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value) // a client that hung up is no concern of ours
	})
}

func (s Statuses) of(err error) int {
	for known, status := range s {
		if errors.Is(err, known) {
			return status
		}
	}
	return http.StatusInternalServerError
}

const (
	maxBody      = 1 << 20
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
)

// Serve serves on a port of this machine while the requests are made: see [Play].
func (a *App) Serve(ctx context.Context, handler http.Handler, requests string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.MaxBytesHandler(handler, maxBody), ReadTimeout: readTimeout, WriteTimeout: writeTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	err = Play(ctx, listener.Addr().String(), requests, a.Out)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	err = errors.Join(err, server.Shutdown(ctx))
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		return errors.Join(err, serveErr)
	}
	return err
}
