package audit

// OCSFLine returns an entry as an event of OCSF.
var OCSFLine = ocsfLine
