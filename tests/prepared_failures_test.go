package tests

import (
	"testing"

	"gorm.io/gorm"
)

// TestTx_FailuresPrepared is TestTx_Failures with GORM's prepared statements.
func TestTx_FailuresPrepared(t *testing.T) {
	t.Parallel()
	eachFailure(t, map[string]*gorm.Session{", PrepareStmt": {PrepareStmt: true}})
}
