// Package supervisor is the program that runs beside a container: it makes
// it, records its output and its end, and answers on its socket.
//
// Its main type is container, one per process. [Main] is the whole program:
//
//	lepto-supervisor run DIR INIT FILTER    make the container of DIR/spec.json, and stay until it ends
//	lepto-supervisor adopt DIR INIT FILTER  take over a container whose supervisor died
//	lepto-supervisor reap DIR               kill what is left of a container, and remove its cgroups
//	lepto-supervisor files DIR PATH         a tar of a path in a stopped container, on stdout
//	lepto-supervisor copy-in DIR PATH       unpack the tar on stdin into a stopped container
//
// Everything runs in a mount namespace of its own (the caller clones it; this
// package makes it a slave first of all), so that a container's mounts are
// never in the host's table and end with their last process.
//
// There is one such process beside every container, for as long as it runs. So
// it stays small. What can't be done from a program with several threads, or had
// better not be done in one that stays, lepto-init does: its mode "make" makes the
// container around itself, "enter" runs further commands in it. The package must not know of images, networks and enclaves: package
// supervise's Spec is all it gets.
package supervisor
