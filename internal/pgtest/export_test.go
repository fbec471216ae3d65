package pgtest

import (
	"io"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

// ConfigFrom and the rest let tests have harnesses besides the binary's own.
var (
	ConfigFrom = configFrom
	LoginDSN   = func(dsn, user, password, database string) (string, error) {
		return loginDSN(dsn, login{user, password}, database)
	}
	DatabaseDSN = databaseDSN
)

const KeptMark = keptMark

type Harness struct{ *harness }

func NewHarness(output io.Writer, cfg server.Config) Harness {
	return Harness{newHarness(output, func() (server.Config, error) { return cfg, nil })}
}

// Main is what Main does, but for the exit.
func (h Harness) Main(run func() int) int { return h.main(run) }

func (h Harness) New(t testing.TB, template Template) *DB { return h.newDB(t, template) }
