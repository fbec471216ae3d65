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
	logName      = "log"
	passwordName = "password"
	loopback     = "127.0.0.1"
	portAttempts = 3
	stopPatience = 10 * time.Second
)

// cluster is a private server: a data directory, and a postmaster that runs as
// another user where this process is root's.
type cluster struct {
	bin      binaries
	acct     account
	dir      *runDir
	password string

	process *os.Process
	exited  chan struct{} // closed when the postmaster is gone and reaped
}

func startLocal(ctx context.Context, cfg Config) (*Server, error) {
	bin, err := findBinaries(ctx, cfg.BinDir)
	if err != nil {
		return nil, err
	}
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	sweepDirs(cfg.LogFunc)
	dir, err := newRunDir(acct)
	if err != nil {
		return nil, err
	}
	c := &cluster{bin: bin, acct: acct, dir: dir, password: newPassword()}
	dsn, err := c.start(ctx, cfg.StartTimeout)
	if err != nil {
		return nil, errors.Join(err, dir.remove())
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
		"-D", c.dir.join(dataName), "-U", superuser, "--pwfile="+c.dir.join(passwordName), "-A", "scram-sha-256",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	c.prepare(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s as %s: %w\n%s", c.bin.initdb(), c.acct.name, err, tail(out))
	}
	return os.Remove(c.dir.join(passwordName))
}

func (c *cluster) makeFiles() error {
	if err := os.Mkdir(c.dir.join(dataName), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(c.dir.join(passwordName), []byte(c.password+"\n"), 0o600); err != nil {
		return err
	}
	return errors.Join(c.acct.own(c.dir.join(dataName)), c.acct.own(c.dir.join(passwordName)))
}

// prepare makes the command run as the account, in a directory that the account
// can enter, deaf to the caller's PG* variables and to the terminal's signals.
func (c *cluster) prepare(cmd *exec.Cmd) {
	cmd.Dir = c.dir.path
	cmd.Env = []string{"LC_ALL=C"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	c.acct.apply(cmd)
}

// launch starts the postmaster on a port that was free a moment ago. Should
// another server sit there by now, it does not know the password, and ours exits.
func (c *cluster) launch(ctx context.Context) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	if err := c.spawn(port); err != nil {
		return "", fmt.Errorf("running %s as %s: %w", c.bin.postgres(), c.acct.name, err)
	}
	dsn, _, err := waitReady(ctx, c.exitError, superDSN(c.password, loopback, port))
	if err != nil {
		return "", errors.Join(fmt.Errorf("starting %s: %w\n%s", c.bin.postgres(), err, c.logTail()), c.terminate())
	}
	return dsn, nil
}

func (c *cluster) spawn(port int) error {
	log, err := os.OpenFile(c.dir.join(logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.bin.postgres(), append([]string{"-D", c.dir.join(dataName)},
		settingArgs(fmt.Sprintf("port=%d", port), "listen_addresses="+loopback, "unix_socket_directories=")...)...)
	c.prepare(cmd)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	c.process, c.exited = cmd.Process, exited
	go func() {
		_ = cmd.Wait() // the log says why
		close(exited)
	}()
	return nil
}

func (c *cluster) exitError() error {
	select {
	case <-c.exited:
		return errors.New("the server exited")
	default:
		return nil
	}
}

func (c *cluster) stop() error {
	return errors.Join(c.terminate(), c.dir.remove())
}

// terminate ends the postmaster without a checkpoint: nobody reads the data again.
func (c *cluster) terminate() error {
	if err := interrupt(c.process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the server: %w", err)
	}
	select {
	case <-c.exited:
		return nil
	case <-time.After(stopPatience):
	}
	err := c.process.Kill()
	<-c.exited
	return err
}

func (c *cluster) logTail() string {
	log, err := os.ReadFile(c.dir.join(logName))
	if err != nil {
		return err.Error()
	}
	return tail(log)
}

// tail is the end of a log, enough to see what went wrong.
func tail(log []byte) string {
	const lines = 20
	all := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
