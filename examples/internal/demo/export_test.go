package demo

// LoginDSN is exported to the tests.
var LoginDSN = loginDSN
