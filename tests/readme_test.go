package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/internal/pgtest"
)

const (
	readme    = "../README.md"
	reading   = "../docs/reading.md"
	migrating = "../docs/migrating.md"
	doctoring = "../docs/doctor.md"
)

// fragment is what README's blocks that are no programs are compiled in. What
// they may use without declaring it stands here.
const fragment = `package readme

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"gorm.io/datatypes"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/audit/audittest"
	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
	"github.com/courtroll/courtroll/tenancy/tenancytest"
)

var (
	_ = errors.Is
	_ = os.Getenv
	_ = log.Fatal
	_ = json.Marshal
	_ = time.Now
	_ http.Handler
	_ netip.Addr
	_ datatypes.JSON
	_ = postgres.Open
	_ *gorm.DB
	_ = audit.New
	_ = audittest.AllModelsCovered
	_ = lifecycle.Verify
	_ = migrate.New
	_ models.Tenant
	_ = tenancy.New
	_ = tenancytest.Run

	m     *migrate.Migrator
	rules tenancy.Rules
	file  *os.File
	kept  []byte
	keep  func([]byte) error
)

type (
	Project struct{ TenantID, Name string }
	Session struct{ TenantID string }
	Country struct{ Code string }
	Invoice struct{ OrgID string }
	Customer struct{ TenantID string }
)

func _(ctx context.Context, t *testing.T, owner, app *gorm.DB, err error) {
%s}
`

func TestReadme(t *testing.T) {
	t.Parallel()
	goBlocks := blocks(t, readme, "go")
	if len(goBlocks) == 0 || !isProgram(goBlocks[0]) {
		t.Fatal("the first block of Go is no complete program")
	}

	for i, block := range slices.Concat(goBlocks, blocks(t, reading, "go"), blocks(t, migrating, "go"), blocks(t, doctoring, "go")) {
		t.Run(fmt.Sprintf("Block%dCompiles", i+1), func(t *testing.T) {
			t.Parallel()
			if !isProgram(block) {
				block = fmt.Sprintf(fragment, block)
			}
			compile(t, block)
		})
	}

	t.Run("ProgramPrintsWhatItSays", func(t *testing.T) {
		t.Parallel()
		db := pgtest.New(t, pgtest.Template{})
		program := exec.CommandContext(t.Context(), compile(t, goBlocks[0]))
		program.Env = append(os.Environ(), "DATABASE_URL="+db.OwnerDSN)
		out, err := program.CombinedOutput()
		if err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		out = slow.ReplaceAll(out, nil)
		if diff := cmp.Diff(blocks(t, readme, "text")[0], string(out)); diff != "" {
			t.Error(diff)
		}
	})
}

// slow is what GORM's logger says of a statement that took long, as on a loaded machine.
var slow = regexp.MustCompile(`(?s)\r?\n\d{4}/[^\n]*SLOW SQL.*?\x1b\[0m\n`)

func isProgram(block string) bool { return strings.HasPrefix(block, "package main\n") }

// compile compiles one file as if it stood in this module, and returns where
// the program is, if it is one.
func compile(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	must(t, os.WriteFile(file, []byte(source), 0o600))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return program
}

// blocks returns README's fenced blocks of a language.
func blocks(t *testing.T, document, language string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(document)
	must(t, err)
	_, rest, ok := strings.Cut(string(text), "\n```"+language+"\n")
	for ok {
		var block string
		block, rest, _ = strings.Cut(rest, "```")
		found = append(found, block)
		_, rest, ok = strings.Cut(rest, "\n```"+language+"\n")
	}
	return found
}
