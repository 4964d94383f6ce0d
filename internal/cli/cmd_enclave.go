package cli

import "github.com/spf13/cobra"

// newEnclave makes lepto enclave.
func newEnclave(d *deps) *cobra.Command {
	return newGroup("enclave", "Manage enclaves", []string{"enclaves"},
		newEnclaveAdd(d), newEnclaveLs(d), newEnclaveInspect(d),
		newEnclaveStop(d), newEnclaveStart(d), newEnclaveRm(d))
}
