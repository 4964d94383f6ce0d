// Package lang is the Starlark host: it interprets a package and yields a plan.
//
// A [Host] holds the dialect: the instructions and types it offers, each a
// [Builtin] made from one declaration. [Instruction] and [Type] derive all the
// rest from a Go struct and its tags: unpacking with every bad argument
// reported at once, deep copies, canonical call text, readable attributes,
// reference docs. A [Call] is what an instruction may use while the script
// calls it.
//
// The package must not know which instructions and types exist, nor any enclave
// or backend: what it needs of an enclave is [EnclaveView].
//
// # Declaring parameters
//
// Each field of the struct is a parameter, in positional order:
//
//	type execArgs struct {
//		_       struct{}          `doc:"Runs a command in a service."`
//		Service string            `star:"service_name" check:"nonempty" doc:"the service to run it in"`
//		Codes   []int64           `star:"acceptable_codes,?" doc:"exit codes that are no failure"`
//	}
//
// The star tag is the name and options: "?" optional; "kw" by keyword only;
// "repr" shown in brief output; "late" not checked by a type's constructor, only
// when the object is used; "deep" checked by the constructor to its depth, where
// otherwise only the outermost type of a list or dict is; "secret" left out of what
// is stored, sent or shown. The check tag is one
// of nonempty, query, min=N, range=A..B, enum=A|B, match=REGEXP, duration, "duration?", delay. A field's Go
// type says what the parameter takes: string, bool, ints and pointers to them
// (nil: not given), slices, string-keyed maps, pointers to structs declared with
// [Type], starlark.Value (anything), or a type with its own UnpackStar
// ([Unpacker]). A field's type, or a whole struct, may have a method
// Validate() error: it is called once the value is complete.
package lang
