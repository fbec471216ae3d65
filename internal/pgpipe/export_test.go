package pgpipe

// SpoilBegin makes the BEGIN of the connection's transaction fail.
func SpoilBegin(conn any) { conn.(*Conn).tx.pending = "begin isolation level nonsense" }
