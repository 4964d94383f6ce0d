// Package process is what an engine's process and those who start, ask and stop
// it agree on: the names of files in its home, the [Lock] that makes it the only
// one there, and the readiness line it sends to who started it ([Report],
// [ParseReport]).
//
// The package must not know what an engine does, nor any protocol.
package process

import "path/filepath"

// SocketPath is the engine's Unix socket.
func SocketPath(home string) string { return filepath.Join(home, "engine.sock") }

// LockPath is the file that the engine holds locked while it lives.
func LockPath(home string) string { return filepath.Join(home, "engine.lock") }

// StartLockPath is the file that a client holds locked while it starts an engine.
func StartLockPath(home string) string { return filepath.Join(home, "engine.start.lock") }

// LogPath is the engine's log; the one before it has the suffix ".1".
func LogPath(home string) string { return filepath.Join(home, "engine.log") }

// Codes of the faults about the engine's own process.
const (
	CodeNoEngine    = "E0701" // no engine is running
	CodeEngineHeld  = "E0702" // another engine holds the home directory
	CodeNeedsRoot   = "E0703" // the backend needs root
	CodeNoAccess    = "E0704" // the socket or home directory belongs to another user
	CodeNotStarted  = "E0705" // the engine did not start
	CodeNotStopped  = "E0706" // the engine did not stop
	CodeBadSettings = "E0707" // a setting of the engine is wrong
)
