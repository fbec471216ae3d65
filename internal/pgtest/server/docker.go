package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/ory/dockertest/v3"
	docker "github.com/ory/dockertest/v3/docker"
)

const (
	engineTimeout = 3 * time.Second
	containerPort = docker.Port("5432/tcp")
	containerData = "/pgdata"

	// containerLife is when the engine kills a container that its owner, killed
	// itself, could not remove and no later run swept.
	containerLife = 4 * time.Hour
)

// container is a server in a container. Its directory holds nothing but the
// lock, which tells sweepers whether the owner lives.
type container struct {
	pool     *dockertest.Pool
	dir      *runDir
	password string
	resource *dockertest.Resource
}

func startDocker(ctx context.Context, cfg Config) (*Server, error) {
	pool, err := connectEngine(ctx, cfg.DockerHost)
	if err != nil {
		return nil, err
	}
	if err := ensureImage(ctx, pool, cfg); err != nil {
		return nil, err
	}
	sweepContainers(ctx, pool, cfg.LogFunc)
	dir, err := newRunDir(account{})
	if err != nil {
		return nil, err
	}
	c := &container{pool: pool, dir: dir, password: newPassword()}
	dsn, version, err := c.start(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	description := fmt.Sprintf("PostgreSQL %s in a container of %s", version, cfg.Image)
	return newServer(Docker, dsn, description, c.stop), nil
}

// connectEngine fails within seconds where no engine answers.
func connectEngine(ctx context.Context, endpoint string) (*dockertest.Pool, error) {
	pool, err := dockertest.NewPool(endpoint)
	if err != nil {
		return nil, fmt.Errorf("connecting to the Docker engine: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if err := pool.Client.PingWithContext(ctx); err != nil {
		return nil, fmt.Errorf("no Docker engine answers at %s: %w", pool.Client.Endpoint(), err)
	}
	return pool, nil
}

func (c *container) start(ctx context.Context, cfg Config) (dsn, version string, err error) {
	if err := c.run(cfg); err != nil {
		return "", "", fmt.Errorf("running a container of %s: %w", cfg.Image, err)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	dsn, version, err = c.waitReady(ctx)
	if err != nil {
		return "", "", fmt.Errorf("starting a container of %s: %w\n%s", cfg.Image, err, c.logTail())
	}
	return dsn, version, nil
}

// run is only called when the image is there: RunWithOptions would pull a
// missing one, and wait for as long as that takes.
func (c *container) run(cfg Config) error {
	repository, tag := docker.ParseRepositoryTag(cfg.Image)
	resource, err := c.pool.RunWithOptions(&dockertest.RunOptions{
		Name:       c.dir.name(),
		Repository: repository,
		Tag:        tag,
		Cmd:        append([]string{"postgres"}, settingArgs(cfg.Settings...)...),
		Env: []string{
			"POSTGRES_USER=" + superuser,
			"POSTGRES_PASSWORD=" + c.password,
			"POSTGRES_INITDB_ARGS=-E UTF8 --locale=C --no-sync",
			"PGDATA=" + containerData + "/" + dataName,
		},
		ExposedPorts: []string{string(containerPort)},
		PortBindings: map[docker.Port][]docker.PortBinding{containerPort: {{HostIP: c.publishedHost()}}},
		Labels:       ownerLabels(c.dir.path),
	}, c.placeData)
	if err != nil {
		return err
	}
	c.resource = resource
	return resource.Expire(uint(containerLife.Seconds()))
}

// enoughMemory is what an engine has that keeps its servers' data there: that of a
// few at a time is a gigabyte or two.
const enoughMemory = 12 << 30

// placeData puts the data into memory, where making and dropping databases of
// hundreds of files takes half as long, or else on the engine's own disk rather
// than on the layers of the container's file system. Either goes with the container.
func (c *container) placeData(host *docker.HostConfig) {
	mount := docker.HostMount{Type: "volume", Target: containerData}
	if info, err := c.pool.Client.Info(); err == nil && info.MemTotal >= enoughMemory {
		mount.Type = "tmpfs"
	}
	host.Mounts = []docker.HostMount{mount}
	host.ShmSize = 256 << 20
}

func (c *container) waitReady(ctx context.Context) (dsn, version string, err error) {
	addresses := c.addresses()
	if len(addresses) == 0 { // one that exited has none any more
		return "", "", cmp.Or(c.exitError(), errors.New("the container has no address"))
	}
	return waitReady(ctx, c.exitError, addresses...)
}

// addresses are the published port and, for where publishing does not work or
// this process sits in a container itself, the container's own address.
func (c *container) addresses() []string {
	var dsns []string
	if port, err := strconv.Atoi(c.resource.GetPort(string(containerPort))); err == nil {
		dsns = append(dsns, superDSN(c.password, c.engineHost(), port))
	}
	network := c.resource.Container.NetworkSettings
	if network != nil && network.IPAddress != "" {
		dsns = append(dsns, superDSN(c.password, network.IPAddress, containerPortNumber))
	}
	return dsns
}

const containerPortNumber = 5432

// engineHost is where the engine publishes ports: here, unless it is reached by TCP.
func (c *container) engineHost() string {
	u, err := url.Parse(c.pool.Client.Endpoint())
	if err != nil || u.Scheme == "unix" || u.Scheme == "npipe" || u.Hostname() == "" {
		return loopback
	}
	return u.Hostname()
}

// publishedHost keeps the port off the network where the engine is on this machine.
func (c *container) publishedHost() string {
	ip := net.ParseIP(c.engineHost())
	if ip != nil && ip.IsLoopback() {
		return loopback
	}
	return ""
}

func (c *container) exitError() error {
	state, err := c.pool.Client.InspectContainer(c.resource.Container.ID)
	if err != nil {
		return fmt.Errorf("inspecting the container: %w", err)
	}
	if !state.State.Running {
		return fmt.Errorf("the container exited with status %d", state.State.ExitCode)
	}
	return nil
}

func (c *container) logTail() string {
	var out bytes.Buffer
	err := c.pool.Client.Logs(docker.LogsOptions{
		Container: c.resource.Container.ID, OutputStream: &out, ErrorStream: &out, Stdout: true, Stderr: true,
	})
	if err != nil {
		return err.Error()
	}
	return tail(out.Bytes())
}

// stop removes by name where the container was made but did not start.
func (c *container) stop() error {
	var err error
	if c.resource != nil {
		err = c.pool.Purge(c.resource)
	} else {
		err = c.pool.RemoveContainerByName(c.dir.name())
	}
	if err != nil {
		err = fmt.Errorf("removing the container: %w", err)
	}
	return errors.Join(err, c.dir.remove())
}
