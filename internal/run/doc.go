// Package run is one run of a package in an enclave: interpretation, then
// validation, then execution, told as one ordered stream of events.
//
// Its main types are [Runner], which runs; [Request], what to run; [Event], one
// thing that happened; and [Stream], the events of one run, to be read from any
// offset by any number of readers, none of which can hold the run up. Events
// are stored with the enclave, so that a run can be watched after the fact.
//
// Nothing on the host is touched before validation has passed, except that
// images are made available. A dry run ends there and changes no state.
//
// The package must not know which instructions exist, nor which backend it has,
// nor how events are shown.
package run
