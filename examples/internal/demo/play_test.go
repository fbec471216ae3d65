package demo_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/examples/internal/demo"
)

// TestPlay: a request that is answered otherwise than the script says is found.
func TestPlay(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("user") != "" {
			fmt.Fprint(w, `{"token":"t1","items":[{"next":"n1"}]}`)
			return
		}
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, r.Host, " ", r.URL, " ", r.Header.Get("Authorization"), " ", r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(server.Close)
	const logIn = "ann @ 203.0.113.7\nann  POST a.test/ user=ann  200\n"
	for script, held := range map[string]bool{
		"ann  GET a.test/x?c={next}  418 a.test /x?c=n1 t1 192.0.2.66, 203.0.113.7": true,
		"ann  GET a.test/x  200":         false,
		"ann  GET a.test/x  418 another": false,
	} {
		var out strings.Builder
		err := demo.Play(t.Context(), strings.TrimPrefix(server.URL, "http://"), logIn+script, &out)
		if (err == nil) != held || err != nil && !errors.Is(err, demo.ErrFell) {
			t.Errorf("%s: %v\n%s", script, err, out.String())
		}
	}
	if err := demo.Play(t.Context(), "127.0.0.1:1", logIn, &strings.Builder{}); err == nil {
		t.Error("a service that does not answer is no error")
	}
}

func TestDisk(t *testing.T) {
	t.Parallel()
	var fits strings.Builder
	disk := &demo.Disk{Writer: &fits, Left: 5}
	_, before := disk.Write([]byte("abc"))
	n, err := disk.Write([]byte("def"))
	if before != nil || n != 2 || !errors.Is(err, demo.ErrDiskFull) || fits.String() != "abcde" {
		t.Errorf("%d more bytes, %q in all: %v, %v", n, fits.String(), before, err)
	}
}
