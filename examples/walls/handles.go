package main

import (
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// silent keeps GORM from logging what is refused: it is shown in its place.
func silent() *gorm.Config { return &gorm.Config{TranslateError: true, Logger: logger.Discard} }

// closePool ends a handle's connections, so that the database can be dropped.
func closePool(db *gorm.DB) {
	if db == nil {
		return
	}
	if pool, err := db.DB(); err == nil {
		_ = pool.Close()
	}
}
