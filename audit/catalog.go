package audit

import (
	"context"
	"database/sql"
	"sync"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/internal/trail"
)

// target is a table by its name in statements, as one model sees it.
type target struct {
	source
	name string
}

// compiled is a target with what the catalogue says of it, and the statements
// that were rewritten for it.
type compiled struct {
	*trail.Table

	mu    sync.Mutex
	texts map[rewrite]rewritten
}

// rewrite is what a rewritten statement depends on.
type rewrite struct {
	query     string
	params    int
	isDelete  bool // the delete processor made it
	returning bool // its rows are read
	nobodys   bool // the context names no tenant
}

// rewritten is what is sent.
type rewritten struct {
	text   string
	hashes bool // it takes the key
}

// What is kept of rewritten statements, as in [sqllex.Cache].
const (
	maxTexts = 500
	maxText  = 2048 // bytes
)

// rewritten returns the statement that is sent in the place of another.
func (c *compiled) rewritten(r rewrite, text *sqllex.Statement) (rewritten, error) {
	keeps := len(r.query) <= maxText
	if keeps {
		c.mu.Lock()
		sent, ok := c.texts[r]
		c.mu.Unlock()
		if ok {
			return sent, nil
		}
	}
	change, err := parse(r, text, c.Table)
	if err != nil {
		return rewritten{}, err
	}
	sent, err := change.render(r.returning)
	if err != nil || !keeps {
		return sent, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.texts == nil || len(c.texts) >= maxTexts {
		c.texts = map[rewrite]rewritten{}
	}
	c.texts[r] = sent
	return sent, nil
}

// compile returns the target with what the catalogue says of it, which is read once.
func (p *Plugin) compile(ctx context.Context, conn gorm.ConnPool, t target) (*compiled, error) {
	p.mu.RLock()
	c := p.compiled[t]
	p.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	var catalogue sql.NullString
	if err := stmtpool.ScanRow(nobody{ctx}, conn, &catalogue, trail.CatalogSQL, t.name); err != nil {
		return nil, err
	}
	table, err := trail.Compile(t.plan(), catalogue.String, p.config.MaxValueChars)
	if err != nil {
		return nil, err
	}
	c = &compiled{Table: table}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compiled[t] = c
	return c, nil
}

// forgetTables makes the catalogue be read again: the tables may have been altered.
func (p *Plugin) forgetTables() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compiled = map[target]*compiled{}
}

// nobody is a context of no tenant: the catalogue is nobody's.
type nobody struct{ context.Context } //nolint:containedctx // it is the context, without its values

func (nobody) Value(any) any { return nil }
