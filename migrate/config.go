package migrate

import (
	"log/slog"
	"time"
)

// DefaultLockTimeout is how long [Migrator.Up] waits for another one to finish
// unless [Config.LockTimeout] says otherwise.
const DefaultLockTimeout = 5 * time.Minute

// Config shapes a [Migrator]. Its zero value is the safe default.
type Config struct {
	// LockTimeout is the longest wait for the migration lock, which another
	// instance holds while it migrates. Zero means [DefaultLockTimeout]; a
	// negative value means one attempt and no wait. It does not limit the
	// migrations themselves: the context does.
	LockTimeout time.Duration

	// Logger is told which tables and versions were made (level Info) and that
	// another instance is waited for (level Debug). Nil means silence.
	Logger *slog.Logger
}

// withDefaults fills what the caller left out.
func (c Config) withDefaults() Config {
	if c.LockTimeout == 0 {
		c.LockTimeout = DefaultLockTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
