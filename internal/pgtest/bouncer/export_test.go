package bouncer

// Find lets a test look where nothing is.
var Find = find

// INI is the file that a pooler of that version is started with.
func INI(cfg Config, version string) (text string, prepares bool, err error) {
	s, err := newSettings(cfg, version)
	if err != nil {
		return "", false, err
	}
	return s.ini("/run/dir"), s.prepares(), nil
}
