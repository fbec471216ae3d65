package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/ory/dockertest/v3"
	docker "github.com/ory/dockertest/v3/docker"
)

const (
	maxPullTimeout = 60 * time.Second
	failureLife    = time.Hour
)

// ensureImage returns once the image is there. A missing one is pulled once,
// and a failure is remembered: without a network each run would wait again.
func ensureImage(ctx context.Context, pool *dockertest.Pool, cfg Config) error {
	if present, err := hasImage(pool, cfg.Image); present || err != nil {
		return err
	}
	note := failureNote(cfg)
	if age, reason, ok := readFailure(note); ok {
		return fmt.Errorf("image %s is missing, and pulling it failed %s ago (tried again after %s, or without %s): %s",
			cfg.Image, age.Round(time.Second), failureLife, note, reason)
	}
	cfg.LogFunc("docker: pulling %s, at most %s", cfg.Image, cfg.PullTimeout)
	if err := pull(ctx, pool, cfg); err != nil {
		if ctx.Err() == nil { // the caller's own impatience says nothing about the registry
			writeFailure(note, err)
		}
		return fmt.Errorf("image %s is missing, and pulling it: %w", cfg.Image, err)
	}
	return nil
}

func hasImage(pool *dockertest.Pool, image string) (bool, error) {
	_, err := pool.Client.InspectImage(withTag(image))
	if errors.Is(err, docker.ErrNoSuchImage) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for image %s: %w", image, err)
	}
	return true, nil
}

func withTag(image string) string {
	repository, tag := docker.ParseRepositoryTag(image)
	return repository + ":" + cmp.Or(tag, "latest")
}

func pull(ctx context.Context, pool *dockertest.Pool, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.PullTimeout)
	defer cancel()
	repository, tag := docker.ParseRepositoryTag(withTag(cfg.Image))
	err := pool.Client.PullImage(docker.PullImageOptions{Repository: repository, Tag: tag, Context: ctx}, docker.AuthConfiguration{})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("gave up after %s: %w", cfg.PullTimeout, err)
	}
	return err
}

// failureNote is a file whose time says when pulling the image failed. A note
// that cannot be written costs the next run a wait, and nothing else.
func failureNote(cfg Config) string {
	dir := cfg.CacheDir
	if dir == "" {
		dir = userCacheDir()
	}
	return filepath.Join(dir, "pull-failed-"+url.QueryEscape(cfg.Image))
}

func userCacheDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "courtroll")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("courtroll-cache-%d", os.Getuid()))
}

func readFailure(note string) (age time.Duration, reason string, ok bool) {
	info, err := os.Stat(note)
	if err != nil || time.Since(info.ModTime()) > failureLife {
		return 0, "", false
	}
	text, err := os.ReadFile(note)
	return time.Since(info.ModTime()), string(text), err == nil
}

func writeFailure(note string, reason error) {
	if os.MkdirAll(filepath.Dir(note), 0o700) == nil {
		_ = os.WriteFile(note, []byte(reason.Error()), 0o600)
	}
}
