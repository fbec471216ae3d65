package server_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	docker "github.com/ory/dockertest/v3/docker"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

// needDocker skips a test where no engine answers, or where it has no image of
// PostgreSQL and cannot get one; not where TEST_BACKEND asks for Docker.
func needDocker(t *testing.T) *docker.Client {
	t.Helper()
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pingEngine(t, pool)
	}
	if err == nil {
		err = haveImage(t, pool.Client)
	}
	switch {
	case err == nil:
		return pool.Client
	case os.Getenv("TEST_BACKEND") == string(server.Docker):
		t.Fatalf("TEST_BACKEND=docker: %v", err)
	default:
		t.Skipf("this test needs a Docker engine with an image of PostgreSQL: %v", err)
	}
	return nil
}

func pingEngine(t *testing.T, pool *dockertest.Pool) error {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	return pool.Client.PingWithContext(ctx)
}

// haveImage starts a server where the image is missing, for the sake of the
// pull. Whether it then works is for the test to find out.
func haveImage(t *testing.T, client *docker.Client) error {
	if _, err := client.InspectImage(image()); err == nil {
		return nil
	}
	if s, err := server.Start(t.Context(), inDocker()); err == nil {
		return s.Stop()
	}
	_, err := client.InspectImage(image())
	return err
}

func image() string { return cmp.Or(os.Getenv("COURTROLL_PG_IMAGE"), "postgres:15") }

func inDocker() server.Config { return server.Config{Order: []server.Backend{server.Docker}} }

func TestDocker(t *testing.T) {
	t.Parallel()
	client := needDocker(t)
	s, err := server.Start(t.Context(), inDocker())
	noError(t, err)
	defer func() { noError(t, s.Stop()) }()
	wantText(t, s.Description(), "PostgreSQL ", " in a container of ")
	if got := mustQuery(t, s.DSN, `SELECT concat_ws(' ', current_setting('fsync'), current_setting('synchronous_commit'),
		current_setting('full_page_writes'), current_setting('TimeZone'), (current_setting('max_connections')::int >= 200)::text)`); got != "off off off UTC true" {
		t.Errorf("settings are %s", got)
	}
	if got := mustQuery(t, s.DSN, `SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user`); got != "true" {
		t.Error("the login is not a superuser")
	}
	id := containerOf(t, client, s)
	noError(t, s.Stop())
	noError(t, s.Stop())
	if _, err := client.InspectContainer(id); !errors.As(err, new(*docker.NoSuchContainer)) {
		t.Errorf("the container is still there: %v", err)
	}
}

// containerOf finds a server's container by its address: a published port, or
// the container's own where publishing does not work.
func containerOf(t *testing.T, client *docker.Client, s *server.Server) (id string) {
	t.Helper()
	found, err := client.ListContainers(docker.ListContainersOptions{
		Filters: map[string][]string{"label": {"courtroll.pgtest.host"}},
	})
	noError(t, err)
	for _, c := range found {
		if hasAddress(c, s.DSN) {
			return c.ID
		}
	}
	t.Fatal("no container has the server's address")
	return ""
}

func hasAddress(c docker.APIContainers, dsn string) bool {
	for _, port := range c.Ports {
		if strings.Contains(dsn, fmt.Sprintf(":%d/", port.PublicPort)) {
			return true
		}
	}
	for _, network := range c.Networks.Networks {
		if strings.Contains(dsn, "@"+network.IPAddress+":") {
			return true
		}
	}
	return false
}

// TestDockerExits: an image that is no server fails at once, with its log.
func TestDockerExits(t *testing.T) {
	t.Parallel()
	client := needDocker(t)
	broken := fmt.Sprintf("courtroll-test-exits:%d", os.Getpid())
	makeExitingImage(t, client, broken)
	cfg := inDocker()
	cfg.Image = broken
	began := time.Now()
	_, err := server.Start(t.Context(), cfg)
	if err == nil {
		t.Fatal("no error")
	}
	wantText(t, err.Error(), "starting a container of "+broken, "exited with status 3", "no luck today")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// makeExitingImage commits a container of the same image with another entry point.
func makeExitingImage(t *testing.T, client *docker.Client, name string) {
	t.Helper()
	c, err := client.CreateContainer(docker.CreateContainerOptions{Config: &docker.Config{Image: image()}})
	noError(t, err)
	defer func() {
		noError(t, client.RemoveContainer(docker.RemoveContainerOptions{ID: c.ID, Force: true, RemoveVolumes: true}))
	}()
	repository, tag := docker.ParseRepositoryTag(name)
	_, err = client.CommitContainer(docker.CommitContainerOptions{
		Container: c.ID, Repository: repository, Tag: tag,
		Run: &docker.Config{Entrypoint: []string{"sh", "-c", "echo no luck today; exit 3"}},
	})
	noError(t, err)
	t.Cleanup(func() { _ = client.RemoveImage(name) })
}

func TestSweepDocker(t *testing.T) {
	t.Parallel()
	needDocker(t)
	living := startHelper(t, server.Docker, openTemp(t))
	killed := startHelper(t, server.Docker, openTemp(t))
	killed.kill(t)
	start(t, inDocker())
	if _, err := query(killed.DSN, `SELECT ''`); err == nil {
		t.Error("the killed run's container still answers")
	}
	mustQuery(t, living.DSN, `SELECT 'untouched'`)
}

// TestDockerMissingImage has an engine of its own that has no image and whose
// registry never answers.
func TestDockerMissingImage(t *testing.T) {
	t.Parallel()
	var pulls atomic.Int32
	engine := stubEngine(t, func(w http.ResponseWriter, r *http.Request) {
		pulls.Add(1)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	cfg := server.Config{
		Order: []server.Backend{server.Docker, server.Local}, DockerHost: engine, Image: "postgres:99",
		CacheDir: t.TempDir(), PullTimeout: 500 * time.Millisecond,
	}
	var log strings.Builder
	cfg.LogFunc = func(format string, args ...any) { fmt.Fprintf(&log, format+"\n", args...) }

	began := time.Now()
	if s := start(t, cfg); s.Backend != server.Local {
		t.Errorf("took %s", s.Backend)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	wantText(t, log.String(), "image postgres:99 is missing", "gave up after 500ms")

	log.Reset()
	start(t, cfg)
	wantText(t, log.String(), "image postgres:99 is missing", " ago", cfg.CacheDir)
	if n := pulls.Load(); n != 1 {
		t.Errorf("pulled %d times, want 1", n)
	}
}

// TestDockerPullRefused: what the engine says reaches the caller, and a note
// that is too old does not count.
func TestDockerPullRefused(t *testing.T) {
	t.Parallel()
	var pulls atomic.Int32
	engine := stubEngine(t, func(w http.ResponseWriter, r *http.Request) {
		pulls.Add(1)
		http.Error(w, `{"message":"registry is out to lunch"}`, http.StatusInternalServerError)
	})
	cfg := inDocker()
	cfg.DockerHost, cfg.Image, cfg.CacheDir = engine, "postgres:99", t.TempDir()
	_, err := server.Start(t.Context(), cfg)
	if err == nil {
		t.Fatal("no error")
	}
	wantText(t, err.Error(), "registry is out to lunch", "start Docker with a postgres:99 image")
	makeOld(t, cfg.CacheDir)
	_, _ = server.Start(t.Context(), cfg)
	if n := pulls.Load(); n != 2 {
		t.Errorf("pulled %d times, want 2", n)
	}
}

func makeOld(t *testing.T, dir string) {
	t.Helper()
	notes, err := os.ReadDir(dir)
	noError(t, err)
	if len(notes) != 1 {
		t.Fatalf("%d notes", len(notes))
	}
	hourAgo := time.Now().Add(-61 * time.Minute)
	noError(t, os.Chtimes(dir+"/"+notes[0].Name(), hourAgo, hourAgo))
}

// stubEngine answers pings, has no image, and pulls as told.
func stubEngine(t *testing.T, pull http.HandlerFunc) (endpoint string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /images/", http.NotFound)
	mux.HandleFunc("POST /images/create", pull)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}
