package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	logName      = "log"
	pidName      = "pid"
	stopPatience = 10 * time.Second
)

// Daemon is a program that runs privately, in a directory of its own. Where this
// process is root's it runs as another user, since neither PostgreSQL nor what
// stands before it runs as root. What a killed process leaves, directory and
// program, the next NewDaemon or [Start] removes.
type Daemon struct {
	acct account
	dir  *runDir

	process *os.Process
	exited  chan struct{} // closed when the program is gone and reaped
}

// NewDaemon makes the directory and starts nothing. Stop has to be called.
func NewDaemon() (*Daemon, error) { return newDaemon(func(string, ...any) {}) }

func newDaemon(logFunc func(string, ...any)) (*Daemon, error) {
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	sweepDirs(logFunc)
	dir, err := newRunDir(acct)
	if err != nil {
		return nil, err
	}
	return &Daemon{acct: acct, dir: dir}, nil
}

// Path is that of a file in the directory.
func (d *Daemon) Path(name string) string { return d.dir.join(name) }

// WriteFile makes a file that the program alone can read.
func (d *Daemon) WriteFile(name, text string) error {
	if err := os.WriteFile(d.Path(name), []byte(text), 0o600); err != nil {
		return err
	}
	return d.acct.own(d.Path(name))
}

// Mkdir makes a directory of the program's.
func (d *Daemon) Mkdir(name string, mode os.FileMode) error {
	if err := os.Mkdir(d.Path(name), mode); err != nil {
		return err
	}
	return d.acct.own(d.Path(name))
}

// Start runs the program, which must have a path in the directory among its
// arguments: by that it is known again. What it prints goes to a log.
func (d *Daemon) Start(binary string, args ...string) error {
	if err := d.spawn(binary, args...); err != nil {
		return err
	}
	return d.WriteFile(pidName, strconv.Itoa(d.process.Pid)+"\n")
}

func (d *Daemon) spawn(binary string, args ...string) error {
	log, err := os.OpenFile(d.Path(logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	d.prepare(cmd)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running %s as %s: %w", binary, d.acct.name, err)
	}
	exited := make(chan struct{})
	d.process, d.exited = cmd.Process, exited
	go func() {
		_ = cmd.Wait() // the log says why
		close(exited)
	}()
	return nil
}

// prepare makes the command run as the account, in a directory that the account
// can enter, deaf to the caller's PG* variables and to the terminal's signals.
func (d *Daemon) prepare(cmd *exec.Cmd) {
	cmd.Dir = d.dir.path
	cmd.Env = []string{"LC_ALL=C"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	d.acct.apply(cmd)
}

// Exited is an error where a program that was started has ended.
func (d *Daemon) Exited() error {
	select {
	case <-d.exited:
		return errors.New("the server exited")
	default:
		return nil
	}
}

// LogTail is the end of what the program printed.
func (d *Daemon) LogTail() string {
	log, err := os.ReadFile(d.Path(logName))
	if err != nil {
		return err.Error()
	}
	return tail(log)
}

// Stop kills the program and removes the directory.
func (d *Daemon) Stop() error {
	return errors.Join(d.end((*os.Process).Kill), d.dir.remove())
}

// end asks the program to end, and kills it where it does not.
func (d *Daemon) end(ask func(*os.Process) error) error {
	if d.process == nil {
		return nil
	}
	if err := ask(d.process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the server: %w", err)
	}
	select {
	case <-d.exited:
		return nil
	case <-time.After(stopPatience):
	}
	err := d.process.Kill()
	<-d.exited
	return err
}

// tail is the end of a log, enough to see what went wrong.
func tail(log []byte) string {
	const lines = 20
	all := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
