package noninterference

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// outcome is what an operation shows of itself.
type outcome struct {
	Result   string
	Affected int64
	Error    string
}

// run runs an operation; tenantID is for where no plugin fills it in. What is
// refused for being written by hand is the one exception to the rule that results
// are the same: alone it would do something.
func run(db *gorm.DB, o op, tenantID string) outcome {
	if o.refused && isAlone(db) {
		return outcome{Error: errByHand}
	}
	result, affected, err := o.run(db.Session(&gorm.Session{}), tenantID)
	out := outcome{Affected: affected, Error: errorKind(err)}
	if err == nil || out.Error == "not found" {
		out.Result = normal(result)
	}
	return out
}

func isAlone(db *gorm.DB) bool {
	_, err := tenancy.FromContext(db.Statement.Context)
	return err != nil
}

const errByHand = "hand-written SQL"

func errorKind(err error) string {
	for kind, known := range map[string]error{
		"not found": gorm.ErrRecordNotFound, "duplicated key": gorm.ErrDuplicatedKey,
		"foreign key": gorm.ErrForeignKeyViolated, "no condition": gorm.ErrMissingWhereClause,
	} {
		if errors.Is(err, known) {
			return kind
		}
	}
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, tenancy.ErrOpaqueSQL), errors.Is(err, audit.ErrUnaudited):
		return errByHand
	case errors.As(err, new(*tenancy.StatementError)), errors.As(err, new(*audit.ChangeError)):
		return err.Error()
	case errors.As(err, &pg):
		return pg.Code
	}
	kind, _, _ := strings.Cut(err.Error(), "&") // GORM's own go on with a row, whichever came first
	return kind
}

// instant is a time, which differs from run to run.
var instant = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)

// normal renders a result as a set, unless it is a text, which is in order.
func normal(result any) string {
	if text, ok := result.(string); ok {
		return text
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return err.Error()
	}
	var v any
	_ = json.Unmarshal(instant.ReplaceAll(raw, []byte(`"T"`)), &v)
	sorted, _ := json.Marshal(sortAll(v))
	return string(sorted)
}

func sortAll(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = sortAll(v[key])
		}
	case []any:
		for i := range v {
			v[i] = sortAll(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return v
}
