package server

// WaitReady is exported for a test of what no engine can be made to do at will:
// publish a port that does not work.
var WaitReady = waitReady

// TempDir is where the account of a private server can enter.
func TempDir() (string, error) {
	acct, err := serverAccount()
	if err != nil {
		return "", err
	}
	return reachableTempDir(acct)
}
