package tests

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"runtime"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// lateEnd is a driver of one row, whose context ends when it was fetched and is
// not scanned yet.
type lateEnd struct {
	tenant string
	end    context.CancelFunc // nil lets it be scanned
	left   int
}

func (d *lateEnd) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d *lateEnd) Driver() driver.Driver                        { return nil }
func (d *lateEnd) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (d *lateEnd) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (d *lateEnd) Close() error                                 { return nil }
func (d *lateEnd) Columns() []string                            { return []string{"id", "tenant_id", "name"} }

func (d *lateEnd) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	d.left = 1
	return d, nil
}

func (d *lateEnd) Next(dest []driver.Value) error {
	if d.left == 0 {
		return io.EOF
	}
	d.left = 0
	dest[0], dest[1], dest[2] = int64(1), d.tenant, "secret of "+d.tenant
	if d.end != nil {
		d.end()
		time.Sleep(5 * time.Millisecond) // database/sql waits for us to close the rows
	}
	return nil
}

type lateRow struct {
	ID             int64
	TenantID, Name string
}

// TestStaleContext: a context that ends between a row and its scan leaves nothing
// of another tenant's. TestStale of the walls does it with rows that do not fit.
func TestStaleContext(t *testing.T) {
	t.Parallel()
	d := &lateEnd{}
	app, err := gorm.Open(postgres.New(postgres.Config{Conn: sql.OpenDB(d)}), &gorm.Config{DisableAutomaticPing: true})
	must(t, err)
	must(t, app.Use(tenancy.New(tenancy.Config{})))
	runtime.LockOSThread() // the values are kept for each processor
	defer runtime.UnlockOSThread()
	for range 20 {
		var theirs, mine []lateRow
		d.tenant, d.end = "hal", nil
		must(t, app.WithContext(tenancy.WithTenant(t.Context(), "hal")).Find(&theirs).Error)
		ctx, end := context.WithCancel(tenancy.WithTenant(t.Context(), "acme"))
		d.tenant, d.end = "acme", end
		err := app.WithContext(ctx).Find(&mine).Error
		if err == nil || len(mine) != 1 || mine[0] != (lateRow{}) {
			t.Fatalf("acme got %+v with the error %v", mine, err)
		}
	}
}
