// Package artifact holds files artifacts: immutable file trees, kept by content.
//
// A [Store] keeps each tree once, whoever has it, in a directory that a service
// can have mounted as it is. A [Builder] makes a tree: of an archive, of a
// directory, file by file. [Pack] and [Extract] move trees as archives. Nothing
// here holds a file in memory, and nothing written leaves the directory it is
// meant for, whatever an archive or a directory says.
//
// The package must not know enclaves, plans or backends: what an artifact is
// called, and who uses it, is the business of package enclave.
package artifact
