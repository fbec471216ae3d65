package tests

import "gorm.io/gorm/logger"

var silent = logger.Discard

var matrixGroups = []matrixGroup{
	{"Reads", matrixReads},
}
