package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ory/dockertest/v3"
	docker "github.com/ory/dockertest/v3/docker"
)

const (
	hostLabel = "courtroll.pgtest.host"
	dirLabel  = "courtroll.pgtest.dir"
)

// ownerLabels say where to look whether the container's owner lives. An engine
// may serve several machines, and a path means something on one of them only.
func ownerLabels(dir string) map[string]string {
	return map[string]string{hostLabel: hostID(), dirLabel: dir}
}

// hostID is this machine's name and, on Linux, its view of the file system: a
// temporary directory may be private to a service or to a container.
func hostID() string {
	name, _ := os.Hostname()
	mounts, _ := os.Readlink("/proc/self/ns/mnt")
	return name + " " + mounts
}

// sweepContainers removes the containers of killed runs of this machine.
// Failures are left to the next sweep.
func sweepContainers(ctx context.Context, pool *dockertest.Pool, logFunc func(string, ...any)) {
	found, err := pool.Client.ListContainers(docker.ListContainersOptions{
		All: true, Context: ctx, Filters: map[string][]string{"label": {hostLabel + "=" + hostID()}},
	})
	if err != nil {
		return
	}
	for _, c := range found {
		if sweepContainer(ctx, pool, c) {
			logFunc("removed container %.12s, left by a run that was killed", c.ID)
		}
	}
}

// sweepContainer holds the owner's lock, if there is one left, from the test to
// the removal.
func sweepContainer(ctx context.Context, pool *dockertest.Pool, c docker.APIContainers) bool {
	dir := c.Labels[dirLabel]
	if dir == "" {
		return false
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the directory is made before the container
	case err != nil || !isMine(dir):
		return false
	default:
		defer lock.Close()
		if lockFile(lock) != nil {
			return false
		}
	}
	err = pool.Client.RemoveContainer(docker.RemoveContainerOptions{ID: c.ID, Force: true, RemoveVolumes: true, Context: ctx})
	if err != nil {
		return false
	}
	return os.RemoveAll(dir) == nil
}
