package cli

import "github.com/spf13/cobra"

// newService makes lepto service.
func newService(d *deps) *cobra.Command {
	return newGroup("service", "Manage services of an enclave", []string{"services"},
		newServiceInspect(d), newServiceLogs(d), newServiceExec(d), newServiceShell(d),
		newServiceStop(d), newServiceStart(d), newServiceRm(d))
}
