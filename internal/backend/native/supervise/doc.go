// Package supervise starts containers and talks to their supervisors.
//
// A container has a folder of its own. [Launcher.Start] writes the container's
// [Spec] into it and spawns the supervisor: a program of its own, in its own
// session, that makes the container, records its output and its end, and
// answers on a socket in the folder. It outlives the process that started it.
// [Launcher.Adopt] finds a container again: through its live supervisor,
// through a new one where the old one died, or as the record of one that has
// ended. Both give a [Handle], which holds no resources: everything it knows is
// in the folder.
//
// The folder holds:
//
//	spec.json        what to run (written by Start)
//	state.json       what became of it (written by the supervisor, atomically)
//	lock             flock of the supervisor: one at a time
//	sup.sock         the supervisor's socket, mode 0600
//	out.fifo err.fifo the container's output; buffered here while no supervisor reads
//	exit             "code signal\n", written by the container's init
//	log/             stored output in segments
//	supervisor.log   what the supervisor itself has to say: empty, unless it crashed
//	upper/ work/ rootfs/ m/  the overlay mounts' writable parts and mount points
//
// The package must not use cgo, and stay small: it is linked into the supervisor
// and into lepto itself. It knows nothing of images, networks and enclaves.
package supervise
