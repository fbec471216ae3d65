package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	passwordName = "password"
	loopback     = "127.0.0.1"
	portAttempts = 3
)

// cluster is a private server: a postmaster, and its data directory.
type cluster struct {
	*Daemon
	bin      binaries
	password string
	settings []string // besides those of this package
}

func startLocal(ctx context.Context, cfg Config) (*Server, error) {
	bin, err := findBinaries(ctx, cfg.BinDir)
	if err != nil {
		return nil, err
	}
	d, err := newDaemon(cfg.LogFunc)
	if err != nil {
		return nil, err
	}
	c := &cluster{Daemon: d, bin: bin, password: newPassword(), settings: cfg.Settings}
	dsn, err := c.start(ctx, cfg.StartTimeout)
	if err != nil {
		return nil, errors.Join(err, c.dir.remove())
	}
	description := fmt.Sprintf("PostgreSQL %s from %s, private", bin.version, bin.dir)
	return newServer(Local, dsn, description, c.stop), nil
}

func (c *cluster) start(ctx context.Context, timeout time.Duration) (dsn string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := c.initdb(ctx); err != nil {
		return "", err
	}
	for range portAttempts {
		dsn, err = c.launch(ctx)
		if err == nil || !strings.Contains(err.Error(), "could not bind") {
			break
		}
	}
	return dsn, err
}

// initdb asks for a password from everybody, so that other users of the machine
// cannot come in by the port. Locale C gives the same order everywhere.
func (c *cluster) initdb(ctx context.Context) error {
	if err := c.makeFiles(); err != nil {
		return fmt.Errorf("preparing the data directory: %w", err)
	}
	cmd := exec.CommandContext(ctx, c.bin.initdb(),
		"-D", c.Path(dataName), "-U", superuser, "--pwfile="+c.Path(passwordName), "-A", "scram-sha-256",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	c.prepare(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s as %s: %w\n%s", c.bin.initdb(), c.acct.name, err, tail(out))
	}
	return os.Remove(c.Path(passwordName))
}

func (c *cluster) makeFiles() error {
	return errors.Join(c.Mkdir(dataName, 0o700), c.WriteFile(passwordName, c.password+"\n"))
}

// launch starts the postmaster on a port that was free a moment ago. Should
// another server sit there by now, it does not know the password, and ours exits.
func (c *cluster) launch(ctx context.Context) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	own := []string{fmt.Sprintf("port=%d", port), "listen_addresses=" + loopback, "unix_socket_directories="}
	settings := settingArgs(append(own, c.settings...)...)
	if err := c.spawn(c.bin.postgres(), append([]string{"-D", c.Path(dataName)}, settings...)...); err != nil {
		return "", err
	}
	dsn, _, err := waitReady(ctx, c.Exited, superDSN(c.password, loopback, port))
	if err != nil {
		return "", errors.Join(fmt.Errorf("starting %s: %w\n%s", c.bin.postgres(), err, c.LogTail()), c.terminate())
	}
	return dsn, nil
}

func (c *cluster) stop() error {
	return errors.Join(c.terminate(), c.dir.remove())
}

// terminate ends the postmaster without a checkpoint: nobody reads the data again.
func (c *cluster) terminate() error { return c.end(interrupt) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
