package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/courtroll/courtroll/lifecycle"
)

// TestDelete_Stuck has triggers keep what is to go.
func TestDelete_Stuck(t *testing.T) {
	t.Parallel()
	for name, trigger := range map[string][]string{
		"reference": {`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.lead_id := coalesce(NEW.lead_id, OLD.lead_id); RETURN NEW; END'`, `CREATE TRIGGER k BEFORE UPDATE ON teams FOR EACH ROW EXECUTE FUNCTION keep()`},
		"rows":      {`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`, `CREATE TRIGGER k BEFORE DELETE ON tags FOR EACH ROW EXECUTE FUNCTION keep()`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, alone)
			b.run(t, trigger...)
			must(t, lifecycle.Suspend(b.system, b.app, "acme"))
			ctx, cancel := context.WithTimeout(b.system, 30*time.Second)
			defer cancel()
			if _, err := lifecycle.Delete(ctx, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast}); !errors.Is(err, lifecycle.ErrStuck) {
				t.Errorf("%v, want ErrStuck", err)
			}
		})
	}
}
