// Package whole holds all of lepto inside lepto's front: the program that users
// start has only what most commands need, since each of them waits for it to
// start, and carries the rest compressed.
//
// [Path] unpacks it, once for each build. The package knows nothing of what the
// program does.
package whole
