// Package enclave holds the domain and its durable state: which enclaves there
// are, which services, addresses, values and runs they have.
//
// Its main types are [Manager], the set of enclaves over one backend; [Enclave],
// one of them with its services; and [Store], the file under both. A row is
// written before its side effect ("intended") and once more after it ("done"),
// so that [Manager.Reconcile] can, after a crash, an upgrade or a reboot alike,
// adopt what runs and remove what is half made. docs/formats/state.md describes
// the file.
//
// The package must not know of plans and scripts, nor which backend it has: it
// asks for abilities.
package enclave
