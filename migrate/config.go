package migrate

import (
	"log/slog"
	"time"

	"github.com/courtroll/courtroll/internal/plan"
)

const (
	// DefaultLockTimeout is how long [Migrator.Up] waits for another one to finish
	// unless [Config.LockTimeout] says otherwise.
	DefaultLockTimeout = 5 * time.Minute
	// DefaultTableLockTimeout is what [Config.TableLockTimeout] is unless it says otherwise.
	DefaultTableLockTimeout = 500 * time.Millisecond
	// DefaultTableLockRetries is what [Config.TableLockRetries] is unless it says
	// otherwise: about two minutes.
	DefaultTableLockRetries = 30
)

// Rules say which tables are whose: TenantColumn names the column that makes a
// table tenant-owned ("tenant_id" if empty), Models are protected with those that
// [Migrator.Protect] is given, and Shared lists, as models or as table names,
// those that belong to no tenant and are left alone. Packages tenancy and audit
// take the same type, so that an app writes its rules once.
type Rules = plan.Rules

// Config shapes a [Migrator]. Its zero value is the safe default. The
// roles matter to [Migrator.Protect] and [Migrator.AppendOnly] alone, Rules to
// Protect and [Migrator.CaptureByTrigger].
type Config struct {
	Rules

	// AppRole is the role that the app logs in with, whom the policies confine to
	// one tenant. Protect creates it, without a password, if it does not exist,
	// and refuses one that could get around the policies. It has no default:
	// without it Protect is [ErrNoAppRole].
	AppRole string

	// SystemRole is the role of the app's second login, for work across tenants,
	// to whom the policies show every row. Protect creates it, without a password,
	// if it does not exist. Default: none.
	SystemRole string

	// TrustedRoles are further roles that keep what was granted to them on the
	// protected tables (a reporting login, another program's, be it their owner's) and
	// see every row. Protect refuses while a role has privileges there, or a login other
	// than the handle's can act as a table's owner, and is not listed. Default: none.
	TrustedRoles []string

	// RetentionRole is the role of a login that runs [Migrator.Retain] and has no other
	// right: none on audit_logs either. [Migrator.AppendOnly] creates it, without a
	// password, if it does not exist, and refuses one that is, or is tied to, one of
	// the roles above. Default: none, and the owner alone runs Retain.
	RetentionRole string

	// MaxValueChars is the number of characters above which the triggers of
	// [Migrator.CaptureByTrigger] cut a value: the same as package audit is given.
	// Default: 16,384.
	MaxValueChars int

	// LockTimeout is the longest wait for the migration lock, which another
	// instance holds while it migrates. Zero means [DefaultLockTimeout]; a
	// negative value means one attempt and no wait. It does not limit the
	// migrations themselves: the context does.
	LockTimeout time.Duration

	// TableLockTimeout is how long a statement that alters a table waits for its lock.
	// Whoever wants the table meanwhile waits behind it, so a migration that does not
	// get the lock steps back after this time, and tries again later. Zero means
	// [DefaultTableLockTimeout].
	TableLockTimeout time.Duration

	// TableLockRetries is how often it tries again, after pauses that grow from a
	// tenth of a second to some five seconds, before the error is [ErrTableBusy]. Zero
	// means [DefaultTableLockRetries]; a negative value means none.
	TableLockRetries int

	// Progress is told how far a long operation is, on its goroutine and between its
	// transactions. It must not use the Migrator. Nil means that nobody is.
	Progress func(Progress)

	// Logger is told which tables and versions were made (level Info) and that
	// another instance is waited for (level Debug). Nil means silence.
	Logger *slog.Logger
}

// withDefaults fills what the caller left out.
func (c Config) withDefaults() Config {
	if c.LockTimeout == 0 {
		c.LockTimeout = DefaultLockTimeout
	}
	if c.TableLockTimeout <= 0 {
		c.TableLockTimeout = DefaultTableLockTimeout
	}
	if c.TableLockRetries == 0 {
		c.TableLockRetries = DefaultTableLockRetries
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
