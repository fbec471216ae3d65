//go:build keepdeps

package internal
import (
 _ "github.com/ory/dockertest/v3"
 _ "gorm.io/driver/postgres"
 _ "github.com/schollz/progressbar/v3"
 _ "github.com/google/go-cmp/cmp"
 _ "golang.org/x/sync/errgroup"
 _ "golang.org/x/sys/unix"
 _ "github.com/jedib0t/go-pretty/v6/table"
 _ "github.com/jackc/pgx/v5"
)
