package audit

import (
	"context"

	"github.com/courtroll/courtroll/internal/plan"
)

// Rules say which tables are whose: TenantColumn names the column that makes a
// table tenant-owned ("tenant_id" if empty), Models are known by their tables'
// names from the start, and Shared lists, as models or as table names, those
// that belong to no tenant. Package tenancy takes the same type, so that an app
// writes its rules once.
type Rules = plan.Rules

// Config configures the plugin. The zero value is the strict choice: every
// table is audited.
type Config struct {
	Rules

	// Exclude lists the tables that leave no trail. Default: none.
	Exclude []Exclusion

	// TrustedFunctions lists the functions of triggers and rules that [Verify] is
	// not to look into, nor at what they call: those of which it cannot tell what
	// they write, and those whose writes need no entry. Default: none.
	TrustedFunctions []TrustedFunction

	// RequireActor refuses writes, events too, without an actor's ID, and those of an
	// [Anonymous] one, with [ErrNoActor]. Default: they are recorded as nobody's.
	RequireActor bool

	// HashKey is the key of the columns that are tagged audit:"hash", of which the
	// trail holds HMAC-SHA256 of the tenant and the value. It has at least 32 bytes
	// and comes from where secrets are kept. The server computes the hash, from the
	// key as a parameter: a server that logs the parameters of statements logs the key.
	// It is needed where a column is so tagged. Default: nil, which is none.
	HashKey []byte

	// CursorKey is the key that the cursors of [List] and [Export] are signed with, of
	// at least 32 bytes, the same in each instance of the app. Where it changes,
	// earlier cursors are [ErrCursor]. Default: nil, with which they are bound to their
	// tenant and filter, too, but somebody who makes one himself is not noticed. He
	// gains a place to read on from in what he may read.
	CursorKey []byte

	// MaxValueChars is the number of characters of a value's text (of bytes, of a
	// bytea) that the trail holds. A longer one is cut, with a marker that tells its
	// length. A tag audit:"cut=N" sets another for a column. Default: 16,384.
	MaxValueChars int

	// Events are those that may be recorded, by [Record] and by their types: any other
	// is [ErrUndefinedEvent], also one whose data does not fit its schema. So the page
	// that [Catalog] prints is complete. What this package records by itself it records
	// all the same. Default: nil, with which any event may be recorded; an empty one
	// allows none.
	Events Catalog

	// OnLost is called for each [Event.BestEffort] that could not be recorded, with
	// the context and the event that [Record] was given, secrets in its Data
	// included, and with the error that Record would have returned. It runs before
	// Record returns, maybe in several goroutines at once, and in a transaction
	// while that is open: it should write a log or count, not use the database.
	// Default: such events are counted by [Plugin.Lost] alone.
	OnLost func(ctx context.Context, event Event, err error)
}

// Exclusion is a table that is not audited.
type Exclusion struct {
	// Model is a model, or the name of a table.
	Model any
	// Reason says why, for whoever asks. It must not be blank.
	Reason string
}

// TrustedFunction is a function of the database that somebody has looked at.
type TrustedFunction struct {
	// Name is its name, with its schema or without.
	Name string
	// Reason says why, for whoever asks. It must not be blank.
	Reason string
}
